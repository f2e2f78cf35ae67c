"""Rules that consist of a condition on one option and a message. They are rows of a table."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from lowtide import sizing
from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.rules.base import ALL, ENDS, ERROR, MEMORY, NOTE, REQUESTS, WARNING, Context, Rule, say
from lowtide.tools.check.rules.stopping import term_hook

# RSS in MB. An idle worker of a small Django application has about 52, so a limit below this replaces idle workers.
IDLE_WORKER_MB = 40
_GUNICORN = "https://docs.gunicorn.org/en/stable/settings.html"
_GRANIAN = "https://github.com/emmett-framework/granian"


def _check(
    options: list[str], level: Level, when: Callable[[Context], object], message: str, instead: str, c: Context
) -> Iterator[Finding]:
    """What one row finds: the options that it is about (none: the file as a whole), when it holds, what it says. {n} is
    the option's number, and {c[...]} another's."""
    name = next((name for name in options if c.option(name)), "")
    if (not name and (options or not c.whole)) or not when(c):
        return
    number, gentle = c.positive(name), c.positive("reload-on-rss")
    later = f"reload-on-rss, {gentle} MB, would come later."
    words = {"n": number, "half": max(number // 2, 1), "longer": number + 5, "c": c}
    words["evil"] = sizing.highest_reload_on_rss(1, c.container.memory or 0)
    words["gentle"] = later if gentle else "There is no reload-on-rss to come before."
    now = "0" if name and c.number(name) == 0 else None
    yield say(c, c.option(name), level, message.format(**words), instead.format(**words), now)


# Code, options, level, when, explanation, message, instead, and the rest of a Rule.
_ROWS: tuple[tuple[Any, ...], ...] = (
    ("no-workers", "processes", ERROR, lambda c: c.number("processes") == 0,
     "With 0 processes the server starts and answers nobody.",
     "There is no worker to answer anybody.", "processes = 4", ENDS),
    ("daemonize-in-container", "daemonize daemonize2 daemon", ERROR, lambda c: c.in_container,
     "A container ends when its first process does. daemonize goes to the background, so the container stops at once.",
     "The server goes to the background and the container ends.",
     "Remove the line; the server logs to standard error.", ENDS, "", "uwsgi gunicorn"),
    ("reload-on-rss-low", "reload-on-rss", WARNING, lambda c: 0 < c.positive("reload-on-rss") <= IDLE_WORKER_MB,
     "A limit below what an idle worker holds replaces every worker after every request, for ever. Pages shared with "
     "the master count in a worker's RSS.",
     f"An idle worker with a small Django application holds about {IDLE_WORKER_MB} MB, the pages it shares with the "
     "master included: every request would end in a new worker.",
     "Measure an idle worker's RSS and set two or three times that.", MEMORY, "", "uwsgi granian"),
    ("evil-over-limit", "evil-reload-on-rss", ERROR,
     lambda c: 0 < (c.container.memory or 0) <= c.positive("evil-reload-on-rss"),
     "evil-reload-on-rss is there to lose one worker instead of the container. Above the container's limit it cannot.",
     "The container is killed at {c.container.memory:.0f} MB, before one worker reaches {n} MB.",
     "evil-reload-on-rss = {evil}", MEMORY),
    ("evil-below-reload", "evil-reload-on-rss", WARNING,
     lambda c: (gentle := c.number("reload-on-rss")) is not None
     and (c.positive("evil-reload-on-rss") >= 1 and (gentle == 0 or c.positive("evil-reload-on-rss") <= gentle)),
     "evil-reload-on-rss kills with SIGKILL, every 3 seconds, a request in flight included. Below reload-on-rss, or "
     "without it, it comes first instead of last.",
     "The master kills a worker over this line in the middle of its request. {gentle}", "reload-on-rss = {half}",
     MEMORY),
    ("mercy-not-container", "worker-reload-mercy", NOTE,
     lambda c: c.positive("worker-reload-mercy") > 10 and c.container.stop_grace is None
     and (not c.is_on("die-on-term") or term_hook(c)),
     "Mercy is what uWSGI grants its workers; a container's own patience is 10 seconds in Compose and 30 in Kubernetes "
     "and ECS unless set, and comes first.",
     "In a container, {n} seconds count only when the stop grace is longer: it is 10 seconds in Compose and 30 in "
     "Kubernetes and ECS unless set.",
     "stop_grace_period: {longer}s; terminationGracePeriodSeconds: {longer}; stopTimeout: {longer}"),
    ("forkbomb-delay", "reload-on-as reload-on-rss", NOTE,
     lambda c: (c.positive("reload-on-rss") or c.positive("reload-on-as")) and c.option("forkbomb-delay") is None
     and c.number("min-worker-lifetime") == 0,
     "When more workers than `processes` are replaced within about a second, the master sleeps for forkbomb-delay, 2 "
     "seconds by default, and starts nobody meanwhile.",
     "When a burst of requests ends more workers than there are processes, the master sleeps for 2 seconds.",
     "forkbomb-delay = 0", 0, "Options.html#forkbomb-delay"),
    ("harakiri-over-http-timeout", "harakiri", WARNING,
     lambda c: c.any("http", "https", "http2") and 0 < c.positive("http-timeout") < c.positive("harakiri"),
     "The HTTP router of `http` gives up on a worker that is silent for http-timeout, 60 seconds unless set: the "
     "client gets nothing, and the worker goes on until harakiri.",
     "A request may take {n} seconds, and the router ends its connection after {c[http-timeout]}.",
     "http-timeout = {n}", REQUESTS, "HTTP.html"),
    ("listen-default", "", NOTE,
     lambda c: (
         c.any("socket", "fastcgi-socket", "http-socket", "https-socket", "http", "https")
         and c.option("listen") is None
     ),
     "The queue of waiting connections holds 100 unless set, that of the HTTP router too. While workers are replaced "
     "it fills, and the proxy in front answers 502 to the rest.",
     "`listen` is not set: 100 connections may wait, which a pause of the workers overflows.",
     "listen = 1024 (net.core.somaxconn has to be at least that)", 0, "Options.html#listen"),
    ("no-prestop", "", NOTE, lambda c: c.container.prestop is False,
     "Kubernetes sends SIGTERM while the proxies and the Service still send requests here for a second or more: a "
     "server that stops at once refuses them. A preStop that sleeps lets them turn away first; its time counts in the "
     "grace period.",
     "Requests still arrive in the first seconds after SIGTERM, and a server that has stopped refuses them.",
     'lifecycle: {{preStop: {{exec: {{command: ["sleep", "5"]}}}}}}', 0, "Management.html",
     ALL),
    ("changes-uid", "uid", NOTE, lambda c: c.in_container,
     "A process that changes its user is not readable through /proc/PID/smaps_rollup by that user, so its memory "
     "cannot be measured. A container has a user of its own for that.",
     "After a change of user /proc/PID/smaps_rollup of the workers is closed to them: their memory cannot be measured.",
     "USER in the Dockerfile, user: in Compose, runAsUser in Kubernetes"),
    ("http-socket-keepalive", "http-socket", NOTE, lambda c: True,
     "http-socket answers one request and closes, without telling clients that keep connections open: some of their "
     "requests fail.",
     "http-socket closes every connection after one request without saying so; a proxy that keeps connections open "
     "sees failures.",
     "socket = /run/app.sock behind nginx (uwsgi_pass), or http = :8080 to face clients", 0, "HTTP.html"),
    ("worker-tmp-dir", "", NOTE, lambda c: c.in_container and c.option("worker-tmp-dir") is None,
     "gunicorn's workers touch a file in worker_tmp_dir, /tmp unless set, to say that they live. On a container's disk "
     "that write may block for longer than `timeout`, and the worker is killed for nothing.",
     "The heartbeat file is on the container's disk; a write that blocks looks like a dead worker.",
     'worker_tmp_dir = "/dev/shm"', 0, f"{_GUNICORN}#worker-tmp-dir", "gunicorn"),
    ("no-preload", "", NOTE, lambda c: c.positive("processes") > 1 and not c.any("preload", "reload"),
     "Without preload_app every worker imports the application itself and shares none of its pages with the others.",
     "Each of {c[processes]} workers imports the application anew and shares nothing.",
     "preload_app = True (--preload), with connections opened after the fork", 0, f"{_GUNICORN}#preload-app",
     "gunicorn"),
    ("timeout-off", "harakiri", NOTE, lambda c: c.number("harakiri") == 0,
     "With timeout = 0 gunicorn never ends a worker that hangs.",
     "A worker that hangs is never replaced.", "timeout = 30, or more", 0, f"{_GUNICORN}#timeout", "gunicorn"),
    ("workers-not-respawned", "", NOTE, lambda c: c.option("respawn-failed-workers") is None,
     "granian ends with the first worker that dies, by the kernel's hand for instance, unless respawn-failed-workers "
     "is on.", "One worker that the kernel kills is the end of the server and of every request in it.",
     "--respawn-failed-workers", MEMORY, _GRANIAN, "granian"),
    ("rss-sampled", "reload-on-rss", NOTE, lambda c: c.option("rss-sample-interval") is None,
     "granian looks at its workers' memory every rss-sample-interval, 30 seconds unless set: a burst of large requests "
     "inflates all of them in less.",
     "workers-max-rss is looked at every 30 seconds, the default.",
     "--rss-sample-interval 1", 0, _GRANIAN, "granian"),
    ("kill-timeout", "reload-on-rss", WARNING, lambda c: c.option("workers-kill-timeout") is None,
     "granian starts a worker's successor and waits for the old one to end, without end unless workers-kill-timeout is "
     "set: a worker that hangs keeps its memory beside the new one.",
     "The old worker beside its successor is waited for without end.", "--workers-kill-timeout 30", MEMORY, _GRANIAN,
     "granian"),
)  # fmt: skip
RULES = [
    Rule(code, explanation, partial(_check, options.split(), level, when, message, instead), options, *rest)
    for code, options, level, when, explanation, message, instead, *rest in _ROWS
]
