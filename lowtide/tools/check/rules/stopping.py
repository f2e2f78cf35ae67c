"""Rules about the server as a whole: how it stops, how long its queue is, what it takes from the host."""

import re
from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import Context, option_docs, rule

GRACEFUL = "hook-master-start = unix_signal:15 gracefully_kill_them_all"


def _term_hook(context: Context) -> Option | None:
    """The hook that says what the master does on SIGTERM (signal 15)."""
    for option in context.settings.all("hook-master-start"):
        if re.match(r"unix_signal:15\b", option.value):
            return option
    return None


@rule("sigterm-reloads", "Management.html#signals-for-controlling-uwsgi")
def sigterm_reloads(context: Context) -> Iterator[Finding]:
    """On SIGTERM uWSGI reloads unless told otherwise: a container that is asked to stop goes on until it is killed."""
    if not context.settings.has_master() or context.settings.is_on("die-on-term") or _term_hook(context):
        return
    in_container = context.container.stop_grace is not None
    if in_container and context.container.stop_signal not in (None, "SIGTERM", "TERM", "15"):
        return
    if not in_container and context.settings.option("emperor"):
        return
    yield context.finding(
        context.settings.option("master"),
        Level.WARNING if in_container else Level.NOTE,
        "On SIGTERM uWSGI reloads instead of stopping"
        + (
            f", so the container is killed after {context.container.stop_grace:.0f} seconds."
            if in_container
            else "; a container or a service manager that stops it so waits and then kills."
        ),
        GRACEFUL,
    )


@rule("die-on-term", option_docs("die-on-term"))
def die_on_term(context: Context) -> Iterator[Finding]:
    """die-on-term stops the server at once: requests in flight are cut off."""
    option = context.settings.option("die-on-term")
    if option and context.settings.is_on("die-on-term") and not _term_hook(context):
        yield context.finding(
            option,
            Level.NOTE,
            "SIGTERM ends the workers at once; requests in flight are cut off.",
            f"{GRACEFUL} lets them finish. Stop the proxy in front first.",
        )


@rule("mercy-over-grace", option_docs("worker-reload-mercy"))
def mercy_over_grace(context: Context) -> Iterator[Finding]:
    """A container gets SIGKILL some seconds after SIGTERM: 10 in Compose, 30 in Kubernetes and ECS unless set. What
    uWSGI gives its workers to finish has to be less. While gracefully_kill_them_all waits, neither mercy nor harakiri
    is looked at, so the grace is the limit, and has to be longer than harakiri lets a request take."""
    grace, hook = context.container.stop_grace, _term_hook(context)
    if grace is None or not context.settings.has_master():
        return
    graceful = hook is not None and "gracefully_kill_them_all" in hook.value
    name = "harakiri" if graceful else "worker-reload-mercy"
    option, needed = context.settings.option(name) or hook, context.settings.positive(name)
    if option and needed >= grace:
        yield context.finding(
            option,
            Level.WARNING,
            f"A worker may take {needed} seconds ({name}) to finish; the container is killed after {grace:.0f}.",
            f"{name} = {max(int(grace) - 5, 1)}, or a stop grace of {needed + 5} seconds",
        )


@rule("mercy-not-container", option_docs("worker-reload-mercy"))
def mercy_not_container(context: Context) -> Iterator[Finding]:
    """Mercy is what uWSGI grants its workers; a container's own patience is 10 seconds in Compose and 30 in Kubernetes
    and ECS unless set, and comes first."""
    option = context.settings.option("worker-reload-mercy")
    mercy = context.settings.positive("worker-reload-mercy")
    if option and mercy > 10 and context.container.stop_grace is None:
        yield context.finding(
            option,
            Level.NOTE,
            f"In a container, {mercy} seconds count only when the stop grace is longer: it is 10 seconds in Compose "
            "and 30 in Kubernetes and ECS unless set.",
            f"stop_grace_period: {mercy + 5}s; terminationGracePeriodSeconds: {mercy + 5}; stopTimeout: {mercy + 5}",
        )


@rule("listen-default", option_docs("listen"))
def listen_default(context: Context) -> Iterator[Finding]:
    """The queue of waiting connections holds 100 unless set. While workers are replaced it fills, and the proxy in
    front answers 502 to the rest."""
    listens = any(context.settings.option(name) for name in ("socket", "uwsgi-socket", "http-socket", "https-socket"))
    if listens and context.settings.option("listen") is None:
        yield context.finding(
            None,
            Level.NOTE,
            "`listen` is not set: 100 connections may wait, which a pause of the workers overflows.",
            "listen = 1024 (net.core.somaxconn has to be at least that)",
        )


@rule("listen-over-somaxconn", option_docs("listen"))
def listen_over_somaxconn(context: Context) -> Iterator[Finding]:
    """uWSGI refuses to start when `listen` is above the kernel's net.core.somaxconn (core/socket.c:119), which is 4096
    on Linux 5.4 and newer, 128 before, and a container's own."""
    option, queue = context.settings.option("listen"), context.settings.number("listen")
    limit = context.container.somaxconn or context.somaxconn
    if option and queue and limit and queue > limit and "(" not in option.value:
        where = "of the container" if context.container.somaxconn else "here"
        yield context.finding(
            option,
            Level.ERROR,
            f"net.core.somaxconn {where} is {limit}: uWSGI refuses to start.",
            f"listen = {limit}, or sysctls: net.core.somaxconn: {queue}",
        )


@rule("no-max-fd", option_docs("max-fd"))
def no_max_fd(context: Context) -> Iterator[Finding]:
    """uWSGI sets memory aside for, and at each fork closes, as many descriptors as it may open. Container hosts often
    allow a thousand million: gigabytes at start, and slow forks (uWSGI issue 2299)."""
    if context.settings.option("max-fd") is None:
        yield context.finding(
            None,
            Level.NOTE,
            "`max-fd` is not set: uWSGI prepares for every descriptor that the host allows, on some a thousand "
            "million.",
            "max-fd = 4096",
        )


@rule("changes-uid", option_docs("uid"))
def changes_uid(context: Context) -> Iterator[Finding]:
    """A process that changes its user is not readable through /proc/PID/smaps_rollup by that user, so its memory
    cannot be measured. A container has a user of its own for that."""
    option = context.settings.option("uid")
    if option and context.container.stop_grace is not None:
        yield context.finding(
            option,
            Level.NOTE,
            "After a change of user /proc/PID/smaps_rollup of the workers is closed to them: their memory cannot be "
            "measured.",
            "USER in the Dockerfile, user: in Compose, runAsUser in Kubernetes",
        )


@rule("daemonize-in-container", option_docs("daemonize"))
def daemonize_in_container(context: Context) -> Iterator[Finding]:
    """A container ends when its first process does. daemonize goes to the background, so the container stops at
    once."""
    for name in ("daemonize", "daemonize2"):
        option = context.settings.option(name)
        if option and context.container.stop_grace is not None:
            yield context.finding(
                option,
                Level.ERROR,
                "uWSGI goes to the background and the container ends.",
                "Remove the line; uWSGI logs to standard error.",
            )


@rule("http-socket-keepalive", "HTTP.html")
def http_socket_keepalive(context: Context) -> Iterator[Finding]:
    """http-socket answers one request and closes, without telling clients that keep connections open: some of their
    requests fail."""
    option = context.settings.option("http-socket")
    if option:
        yield context.finding(
            option,
            Level.NOTE,
            "http-socket closes every connection after one request without saying so; a proxy that keeps connections "
            "open sees failures.",
            "socket = /run/app.sock behind nginx (uwsgi_pass), or http = :8080 to face clients",
        )


@rule("buffer-size-body", option_docs("buffer-size"))
def buffer_size_body(context: Context) -> Iterator[Finding]:
    """buffer-size is for a request's headers. It holds no body, and every core of every worker has one."""
    option = context.settings.option("buffer-size")
    if option and context.settings.positive("buffer-size") >= 65535:
        yield context.finding(
            option,
            Level.NOTE,
            "buffer-size is for request headers only; a large body needs client_max_body_size in nginx and the "
            "application's own limit.",
            "buffer-size = 32768",
        )
