"""Rules about the server as a whole: how it stops, how long its queue is, what it takes from the host."""

import math
import re

from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import ALL, ENDS, ERROR, NOTE, REQUESTS, WARNING, Context, Findings, rule, say

GRACEFUL = "hook-master-start = unix_signal:15 gracefully_kill_them_all"


def term_hook(c: Context) -> Option | None:
    """The hook that says what the master does on SIGTERM (signal 15)."""
    hooks = (option for option in c.all("hook-master-start") if re.match(r"unix_signal:15\b", option.value))
    return next(hooks, None)


def _not_graceful(c: Context) -> tuple[str, str] | None:
    """Why gracefully_kill_them_all does not let requests finish here, and what to do; None if it does."""
    if c.container.signals_all:
        return "The workers get the signal themselves", "KillMode=mixed, so that only the master is told"
    if c.positive("async") > 1 or c.positive("gevent") > 1:
        return "With gevent or async a worker exits at once", "stop the proxy in front first, and wait for its requests"
    if c.uwsgi < (2, 0, 27) and c.positive("threads") > 1:
        return "Before 2.0.27 a worker with threads hangs until mercy ends it", "uWSGI 2.0.28 or newer"
    if c.uwsgi < (2, 0, 28) and c.any("http", "https"):
        return "Before 2.0.28 the HTTP router ends at once and cuts its requests", "uWSGI 2.0.28 or newer"
    return None


@rule("sigterm-reloads", "Management.html#signals-for-controlling-uwsgi", weight=REQUESTS)
def sigterm_reloads(c: Context) -> Findings:
    """On SIGTERM uWSGI reloads unless told otherwise: a container that is asked to stop goes on until it is killed."""
    if not c.has_master() or c.is_on("die-on-term") or term_hook(c) or c.is_on("exit-on-reload"):
        return
    managed = c.in_container or c.container.stop_grace is not None
    signalled = managed and c.container.stop_signal not in (None, "SIGTERM", "TERM", "15")
    if signalled or (not managed and c.option("emperor")):
        return
    message = "On SIGTERM uWSGI reloads instead of stopping"
    if c.container.stop_grace is None:
        message += "; a container or a service manager that stops it so waits and then kills."
    elif math.isinf(c.container.stop_grace):
        message += f", and the {c.container.kind} waits for it without end."
    else:
        message += f", so the {c.container.kind} is killed after {c.container.stop_grace:.0f} seconds."
    reason = _not_graceful(c)
    instead = f"die-on-term = true; to let requests finish, {reason[1]}" if reason else GRACEFUL
    yield say(c, c.option("master"), WARNING if managed else NOTE, message, instead)


@rule("die-on-term", options="die-on-term")
def die_on_term(c: Context, option: Option) -> Findings:
    """die-on-term stops the server at once: requests in flight are cut off."""
    if c.is_on("die-on-term") and not term_hook(c):
        reason = _not_graceful(c)
        graceful = f"{GRACEFUL} lets them finish. Stop the proxy in front first."
        instead = f"{reason[0]}: {reason[1]}" if reason else graceful
        yield say(c, option, NOTE, "SIGTERM ends the workers at once; requests in flight are cut off.", instead)


@rule("hook-not-graceful", "Management.html#signals-for-controlling-uwsgi", weight=REQUESTS)
def hook_not_graceful(c: Context) -> Findings:
    """gracefully_kill_them_all tells each worker to stop after its request. With gevent and async a worker exits at
    once all the same (core/uwsgi.c, gracefully_kill), before 2.0.27 one with threads hangs, before 2.0.28 the HTTP
    router cuts what is in flight, and where the service manager signals every process the workers are told by it."""
    hook, reason = term_hook(c), _not_graceful(c)
    if hook and reason and "gracefully" in hook.value:
        told = c.uwsgi < (2, 0, 28) or c.container.signals_all
        message = f"{reason[0]}: requests in flight are cut off or wait all the same."
        yield say(c, hook, WARNING if told else NOTE, message, f"{reason[1][0].upper()}{reason[1][1:]}")


@rule("mercy-over-grace", "Options.html#worker-reload-mercy", weight=REQUESTS, servers="uwsgi gunicorn")
def mercy_over_grace(c: Context) -> Findings:
    """A container gets SIGKILL some seconds after SIGTERM: 10 in Compose, 30 in Kubernetes and ECS unless set. What
    uWSGI gives its workers to finish has to be less. While gracefully_kill_them_all waits, neither mercy nor harakiri
    is looked at, so the grace is the limit, and has to be longer than harakiri lets a request take. gunicorn gives its
    workers graceful_timeout, 30 seconds unless set."""
    grace, hook = c.container.stop_grace, term_hook(c)
    uwsgi = c.reading.server == "uwsgi"
    if grace is None or (uwsgi and (not c.has_master() or (c.is_on("die-on-term") and not hook))):
        return
    name = "harakiri" if hook is not None and "gracefully_kill_them_all" in hook.value else "worker-reload-mercy"
    option, needed = c.option(name) or hook, c.positive(name)
    if (option or not uwsgi) and needed >= grace:
        message = f"A worker may take {needed} seconds ({c.spell(name)}) to finish; the container is killed after "
        instead = f"{c.spell(name)} = {max(int(grace) - 5, 1)}, or a stop grace of {needed + 5} seconds"
        yield say(c, option, WARNING if uwsgi else NOTE, f"{message}{grace:.0f}.", instead)


@rule("shell-form", "Management.html#signals-for-controlling-uwsgi", weight=REQUESTS, servers=ALL)
def shell_form(c: Context) -> Findings:
    """In the shell form (CMD without brackets, `command` as one text, a script) a shell is the first process of the
    container and gets SIGTERM, which it does not hand on: the server runs until it is killed. bash and newer dash
    replace themselves by a single command; behind `&&` or in a script only `exec` does."""
    command = c.reading.command
    if command and command.shell in ("single", "several"):
        sure = command.shell == "several"
        message = "A shell runs the command and gets SIGTERM in the place of the server, which then runs until it "
        message += "is killed." if sure else "is killed, unless the shell replaces itself (bash, dash 0.5.11)."
        instead = f"exec {command.words[0]} ..., or a list of words: [{', '.join(map(repr, command.words[:3]))}, ...]"
        yield say(c, command.line, WARNING if sure and c.in_container else NOTE, message, instead.replace("'", '"'))


@rule("listen-over-somaxconn", weight=ENDS, options="listen")
def listen_over_somaxconn(c: Context, option: Option) -> Findings:
    """uWSGI refuses to start when `listen` is above the kernel's net.core.somaxconn (core/socket.c:119), which is 4096
    on Linux 5.4 and newer, 128 before, and a container's own."""
    queue, limit = c.number("listen"), c.container.somaxconn or c.somaxconn
    if queue and limit and queue > limit and "(" not in option.value:
        where = "of the container" if c.container.somaxconn else "here"
        message = f"net.core.somaxconn {where} is {limit}: uWSGI refuses to start."
        yield say(c, option, ERROR, message, f"listen = {limit}, or sysctls: net.core.somaxconn: {queue}")
