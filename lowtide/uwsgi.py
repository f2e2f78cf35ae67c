"""The adapter for uWSGI, one line in uwsgi.ini:

    shared-import = lowtide.uwsgi

It works on the application that `module =` names, without a change to its code:
- gives heap back after a request that made the worker grow (`lowtide.give_back`); GIVE_BACK_MB in the environment is
  the threshold in MiB, 8 by default, 0 for never;
- reads request bodies in parts, so that uWSGI does not hold a second copy of each, and to their end;
- answers 503 to clients that still wait for a worker when the server stops (`lowtide.waiting`; `shutdown-sockets`),
  at once even where all workers are busy, if they have no threads (`lowtide.stopping`);
- cuts the connection when a response raises an error after its first part, so that it does not look complete;
- drops lines of the log when nobody reads them, because writing them would block a worker (`lowtide.logs`);
- answers 503 to a request that needs more memory than the container has, and replaces its worker (`lowtide.ceiling`);
- refuses requests whose client has disconnected or that waited for more than QUEUE_S seconds (`lowtide.overload`);
- freezes what is loaded before the fork (gc.freeze): otherwise a worker's garbage collector would write into every
  object, and so copy every page that the worker shares with the others; GC_FREEZE=0 turns that off;
- makes it immortal where Python can (`lowtide.immortal`): otherwise a worker would copy the pages of all objects that
  it uses; IMMORTAL=0 turns that off;
- fills the holes between what is loaded (`lowtide.holes`): otherwise a worker would copy pages to write into them;
  FILL_HOLES=0 turns that off;
- with ADMISSION admits large requests by the memory that they need (`lowtide.admission`), and with LEARN_ROUTES=1 hands
  requests that have turned out to be large to the workers for them (`lowtide.handoff`);
- counts what requests take at their peak, by route (`lowtide.ledger`); LEDGER=0 turns that off;
- reports requests to OpenTelemetry and errors to Sentry, where they are switched on (`lowtide.telemetry`);
- logs why workers are replaced (`lowtide.recycles`), and counts it for `lowtide.metrics` (`lowtide.counts`);
- runs the functions that the application registered with `atexit` before a worker ends, such as the flush of an error
  reporter, because uWSGI does not call them with skip-atexit-teardown;
- limits the time that a worker may take to end (`lowtide.deadline`). uWSGI does not apply harakiri to a request while
  the server stops, and never replaces a worker that hangs in its exit after max-worker-lifetime;
- wakes the master when a worker has ended. By itself the master checks once a second (core/master.c:687, 759), and a
  worker is missing until then; WAKE_MASTER=0 turns that off;
- makes workers end one after the other when several reach a limit at the same time;
- makes SIGTERM end a server that is still loading its application. By itself uWSGI ignores the signal until its master
  runs (core/uwsgi.c:2071, core/master.c:347), and the stop that was asked for does not happen;
- with `set-placeholder = lowtide-recycle-idle=3` replaces a worker that has had no request for that many seconds and
  still holds GIVE_BACK_MB more than when it was forked, unless that memory is needed (`lowtide.idle`). Health checks do
  not count as requests here, because they come so often that no worker would ever be idle. This needs a master and a
  server without threads.

Hooks that the application sets in the module `uwsgi` while it is loaded (as uwsgidecorators does) are called after
these. A hook that it sets later replaces these; they are set again, and a line says so: {"event": "overwritten", ...}.

With lazy-apps the application is loaded after the fork, so nothing is shared. Heap is then given back a moment later
(in after_req_hook, which runs after uWSGI has read RSS for reload-on-rss), and a worker that ends normally logs its own
end; for one that is killed there is only uWSGI's own line ("DAMN ! worker ... died"). The same holds for an application
that is not named by `module =`.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import uwsgi

from lowtide import (
    admission,
    application,
    ceiling,
    counts,
    defaults,
    handoff,
    holes,
    immortal,
    ledger,
    logs,
    memory,
    recycles,
    sizing,
    start,
    stopping,
    telemetry,
    waiting,
)
from lowtide.deadline import Deadline
from lowtide.give_back import GiveBack, threshold_mb
from lowtide.idle import Learned
from lowtide.overload import Shed, has_left, queue_s
from lowtide.wsgi import AfterResponse, Environ, read_in_parts, read_to_the_end


def _text(name: str) -> str:
    """An option's value, the last one if it is repeated; empty when it is not set."""
    value = uwsgi.opt.get(name, b"")
    if isinstance(value, list):
        value = value[-1]
    return value.decode() if isinstance(value, bytes) else str(value)


def _number(name: str) -> int:
    """A numeric option as uWSGI reads it (atoi): its leading digits, 0 when there are none."""
    digits = ""
    for character in _text(name).strip():
        if not character.isdigit():
            break
        digits += character
    return int(digits or 0)


def _is_on(name: str) -> bool:
    """A switch as uWSGI reads it (core/uwsgi.c:3947): every text is true except these four."""
    return name in uwsgi.opt and _text(name).lower() not in ("false", "off", "no", "0")


# This comes before the application is loaded, because its loggers keep the sys.stderr that they find.
logs.never_block()
_LAZY = _is_on("lazy-apps") or _is_on("lazy")
_MASTER = _is_on("master")
_MAX_REQUESTS, _MAX_REQUESTS_DELTA = _number("max-requests"), _number("max-requests-delta")
_LIFETIME, _LIFETIME_DELTA = _number("max-worker-lifetime"), _number("max-worker-lifetime-delta")
_RSS = _number("reload-on-rss")
_HARAKIRI = _number("harakiri")
_IDLE_S = _number("lowtide-recycle-idle")
# How many requests a worker runs at the same time.
_CORES = max(map(_number, ("threads", "async", "gevent")))
_THRESHOLD_MB = threshold_mb()
# Copies, because a worker closes uWSGI's own descriptors when the server stops.
_listening = [os.dup(descriptor) for descriptor in uwsgi.sockets]
_slots = recycles.Slots(uwsgi.numproc)
_give_back = GiveBack(_THRESHOLD_MB) if _THRESHOLD_MB else None
_LINE_MB = ledger.line_mb()
_RUN_DIR = os.environ.get("RUN_DIR")
# The numbers of the workers that are only for large requests (lowtide.start).
_LARGE = frozenset(map(int, filter(None, os.environ.get("LARGE_WORKER_IDS", "").split(","))))
_LEDGER_FILE = Path(_RUN_DIR, "ledger") if _RUN_DIR else None
_ledger = ledger.Ledger(uwsgi.numproc, _LINE_MB, _LEDGER_FILE, len(_LARGE)) if _LINE_MB else None
_counts = counts.Counts(uwsgi.numproc, Path(_RUN_DIR, "counts")) if _RUN_DIR else None
# A reservation belongs to a worker, so a worker must serve one request at a time.
_budget = admission.budget(uwsgi.numproc) if _LARGE and _CORES < 2 else None
_handoff = handoff.handoff() if _LARGE and _CORES < 2 else None
# Only after the application is loaded, because Sentry's SDK must know whether it is one of Django's.
_telemetry: telemetry.Telemetry | None = None
# The ceiling follows the container's limit where lowtide.start has derived it from that.
_FOLLOWS = os.environ.get("WORKER_CEILING") == "auto" and "SMALL_CEILING_MB" in os.environ
_LOAD = sizing.measured(application.read()) if _FOLLOWS and application.find() else None
_limit_mb, _looked = memory.limit_mb(), time.monotonic()
_learned = Learned(uwsgi.numproc, _THRESHOLD_MB)
# Seconds to wait for the successor of another worker. A fork takes milliseconds unless something is wrong.
_TURN_S = 2.0
# Seconds that a worker may take to end: for the atexit functions and the end of the process.
_OUT_S = 5.0
# Seconds more than harakiri. The master checks once a second and counts whole seconds, so its harakiri comes first, and
# the kernel's limit only matters when the master no longer checks.
_AFTER_HARAKIRI_S = 3.0
# When this worker started and when it last ended a request (monotonic clock), and whether its current request is a
# health check.
_started = _busy = time.monotonic()
_checked = False


def _health_paths() -> frozenset[str]:
    """The application's paths of the health checks: from lowtide.toml, otherwise those of lowtide.django.health."""
    if application.find() is None:
        return frozenset({"/healthz", "/readyz"})
    described = application.read()
    return frozenset({described.live, described.ready})


_HEALTH = _health_paths()


# When the current request of each of this worker's threads began (monotonic clock), by the thread's id.
_running: dict[int, float] = {}
_deadline: Deadline | None = None
_hup: stopping.Hup | None = None
_arrived = 0
# The hooks of the application that ours have replaced in uWSGI's module.
_application_hooks: dict[str, Callable[[], object] | None] = {}


def _begin(environ: Environ) -> None:
    global _checked, _hup
    _check_hooks()
    if _MASTER and _CORES < 2 and uwsgi.worker_id():
        # This comes with the first request, because uWSGI sets its handler after post_fork_hook.
        _hup = _hup or stopping.Hup(_told_to_stop)
        _hup.begin()
    _checked = environ.get("PATH_INFO") in _HEALTH
    _slots.begin_request(uwsgi.worker_id())
    _running[threading.get_ident()] = now = time.monotonic()
    if _FOLLOWS and _wrapped and now - _looked > 1:
        _follow_limit()
    _bound_requests()


def _bound_requests() -> None:
    """Make the kernel kill this worker when its oldest request has run for longer than harakiri."""
    if not _deadline or not _HARAKIRI:
        return
    if _running:
        left_s = min(_running.values()) + _HARAKIRI + _AFTER_HARAKIRI_S - time.monotonic()
        _deadline.set(max(left_s, 0.001))
    else:
        _deadline.set(0)


def _told_to_stop() -> None:
    """Runs in the middle of a request, when this worker is told to end after it."""
    if stopping.in_handler(uwsgi.masterpid(), signal.SIGTERM):
        waiting.refuse(_listening, stops=True)


def _close() -> None:
    if _ledger:
        _ledger.close()
    if _give_back:
        _give_back()


def _gone() -> bool:
    return has_left(uwsgi.connection_fd())


def _break() -> None:
    """Cut the connection of an answer that breaks off. uWSGI itself would end it as if it were complete."""
    with socket.socket(fileno=os.dup(uwsgi.connection_fd())) as connection, suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _end() -> None:
    """Runs at the end of a request, after uWSGI has freed its buffer of the body (core/utils.c:1106, 1110)."""
    global _busy, _checked
    if not _wrapped:
        _check_hooks()
    if _hup:
        _hup.end()
    if _give_back:
        (_give_back.rest if _wrapped else _give_back)()
    served = _ledger.end(_give_back.asked_mb if _give_back else 0.0) if _ledger else None
    if _telemetry:
        _telemetry.end(served)
    # A request that was refused or failed may have ended early, so its peak says nothing of others.
    peak_mb = served.peak_mb if served and served.status < 400 else None
    for learning in (_budget, _handoff):
        if learning:
            learning.end(peak_mb)
    if _give_back and _give_back.given_mb:
        _count(counts.GIVE_BACKS)
        _count(counts.GIVEN_BACK_BYTES, round(_give_back.given_mb * memory.MIB))
        _give_back.given_mb = 0.0
    _slots.end_request(uwsgi.worker_id())
    _running.pop(threading.get_ident(), None)
    _bound_requests()
    if not _checked:
        _busy = time.monotonic()
    _checked = False
    if ceiling.met():
        os.kill(os.getpid(), signal.SIGHUP)
    _call_application_hook("after_req_hook")


def _count(name: str, amount: int = 1) -> None:
    if _counts and (worker := uwsgi.worker_id()):
        _counts.add(worker, name, amount)


def _look(_: int) -> None:
    """Runs once a second, between requests: end this worker if it was idle for long enough.

    Worker N - 1 waits for a second longer than worker N, so that they do not end together.
    """
    worker = uwsgi.worker_id()
    if not _give_back or time.monotonic() - _busy < _IDLE_S + uwsgi.numproc - worker:
        return
    if _learned.worth_replacing(worker, _give_back.kept_mb, _give_back.live_mb):
        _learned.let_go(worker, _give_back.live_mb)
        # _leave is called here, because uWSGI counts a worker in a signal's handler as busy, and ends a busy worker
        # without calling atexit.
        _leave("idle")
        os.kill(os.getpid(), signal.SIGHUP)


def _ceiling_mb(worker: int) -> float:
    """How far this worker may grow (lowtide.start); 0 for no limit."""
    return float(os.environ.get("LARGE_CEILING_MB" if worker in _LARGE else "SMALL_CEILING_MB") or 0)


def _wrap() -> bool:
    """Put the callbacks around the application before uWSGI loads it; False where that is not possible."""
    global _telemetry
    name, _, attribute = (_text("module") or _text("wsgi")).partition(":")
    if _LAZY or not name:
        return False
    attribute = attribute or _text("callable") or "application"
    # There are no workers and no requests yet, so the process may end at once.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        module: ModuleType = importlib.import_module(name)
        # `module = shop:create_app()` names a function that makes the application.
        attribute, made = attribute.removesuffix("()"), attribute.endswith("()")
        loaded = getattr(module, attribute, None)
        # uWSGI itself deals with a missing application, and with several applications in a dictionary.
        if not callable(loaded) or isinstance(getattr(module, "applications", None), dict):
            return False
        if made:
            loaded = loaded()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN if _MASTER else signal.SIG_DFL)
    if _give_back:
        loaded = read_in_parts(loaded)
    loaded = ceiling.bounded(loaded)
    if _ledger:
        loaded = _ledger.watched(loaded)
    if _telemetry := telemetry.chosen(_HEALTH):
        loaded = _telemetry.watched(loaded)
    if _budget:
        loaded = _budget.admitted(loaded, uwsgi.worker_id, _LARGE, queue_s() or defaults.QUEUE_S, _gone)
    if _handoff:
        loaded = _handoff.applied(loaded, uwsgi.worker_id, _LARGE)
    loaded = Shed(AfterResponse(loaded, _close, _begin, _break), uwsgi.connection_fd, queue_s(), uwsgi.worker_id)
    wrapped = read_to_the_end(loaded)
    setattr(module, attribute, (lambda: wrapped) if made else wrapped)
    return True


def _call_application_hook(name: str) -> None:
    hook = _application_hooks.pop(name, None)
    if hook is None:
        return
    try:
        # It may call our hook, if it was set to call the one before it. It is taken out meanwhile to avoid a loop.
        hook()
    finally:
        _application_hooks[name] = hook


def _check_hooks() -> None:
    """Set those of our hooks again that the application has replaced since it was loaded, and log which they were."""
    for name in ("post_fork_hook", "atexit"):
        hook = getattr(uwsgi, name, None)
        if hook is _HOOKS[name]:
            continue
        _application_hooks[name] = hook
        setattr(uwsgi, name, _HOOKS[name])
        # A worker that has already started no longer needs post_fork_hook, so that one is not logged.
        if name == "atexit" or _arrived != os.getpid():
            when, worker = round(time.time(), 3), uwsgi.worker_id()
            line = {"event": "overwritten", "time": when, "worker": worker, "hook": f"uwsgi.{name}"}
            print(json.dumps(line), file=sys.stderr, flush=True)
    if _arrived != os.getpid():
        _take_place()


def _reason(worker: int, requests: int, age_s: float, rss_mb: float) -> str:
    """The first limit that was reached, in the order in which uWSGI checks them (core/utils.c:1192-1201).

    `age_s` is the age by the clock of the day, as uWSGI reckons it: when that clock has been set back, an age below 0
    counts as more than any lifetime (core/master_checks.c:255).
    """
    if _MAX_REQUESTS and requests >= _MAX_REQUESTS + (worker - 1) * _MAX_REQUESTS_DELTA:
        return "requests"
    if _RSS and rss_mb >= _RSS:
        return "rss"
    if _LIFETIME and not 0 <= age_s <= _LIFETIME + (worker - 1) * _LIFETIME_DELTA:
        return "lifetime"
    return "signal"


def _leave(reason: str = "") -> None:
    worker = uwsgi.worker_id()
    if not worker:
        return
    figures = uwsgi.workers()[worker - 1]
    # uWSGI compares this same figure with reload-on-rss.
    requests, rss_mb = figures["delta_requests"], figures["rss"] / 2**20
    clock_age_s = int(time.time()) - figures["last_spawn"]
    reason = reason or ("ceiling" if ceiling.met() else _reason(worker, requests, clock_age_s, rss_mb))
    if _LAZY:
        age_s = time.monotonic() - _started
        end = recycles.Recycle(time.time(), worker, os.getpid(), reason, round(age_s, 3), requests, round(rss_mb, 1))
        recycles.log(end)
        _count(reason)
    else:
        if reason != "signal":
            _slots.wait_for_turn(worker, _TURN_S)
        _slots.say(worker, reason, requests, rss_mb)
    if reason == "signal":
        if _deadline:
            _deadline.set(waiting.LONGEST_S + _OUT_S)
        waiting.refuse(_listening)
    if _deadline:
        _deadline.set(_OUT_S)
    if _telemetry:
        _telemetry.flush()
    _call_application_hook("atexit")
    if _is_on("skip-atexit-teardown"):
        atexit._run_exitfuncs()


def _arrive() -> None:
    if _arrived != os.getpid():
        _take_place()
    _call_application_hook("post_fork_hook")


def _follow_limit(said: bool = True) -> None:
    """Change this worker's ceiling if the container's limit was changed: once a second, before a request."""
    global _limit_mb, _looked
    _looked = time.monotonic()
    if (limit_mb := memory.limit_mb()) == _limit_mb:
        return
    _limit_mb = limit_mb
    os.environ.update(start.ceilings(os.environ, _LOAD))
    if said:
        worker, when = uwsgi.worker_id(), round(time.time(), 3)
        room_mb = _ceiling_mb(worker)
        ceiling.rearm(room_mb)
        line = {"event": "limit", "time": when, "worker": worker, "limit_mb": limit_mb, "ceiling_mb": room_mb or None}
        print(json.dumps(line), file=sys.stderr, flush=True)


def _take_place() -> None:
    """Runs when a worker starts, after the fork."""
    global _arrived, _started, _busy, _deadline
    _arrived = os.getpid()
    _started = _busy = time.monotonic()
    # The handler below is for the master only, which waits for workers.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = uwsgi.worker_id()
    if not worker:
        return
    try:
        _deadline = Deadline()
    except OSError as error:
        print(f"lowtide: a worker that hangs in its exit is not ended: {error}", file=sys.stderr, flush=True)
    if _FOLLOWS:
        # The master, from which this worker was forked, does not look.
        _follow_limit(said=False)
    if _wrapped and (room_mb := _ceiling_mb(worker)):
        ceiling.arm(room_mb)
    if not _LAZY and (end := _slots.born(worker, os.getpid(), _HARAKIRI)):
        recycles.log(end)
        _count(end.reason)
    if _telemetry:
        _telemetry.start()
    if _give_back:
        _give_back.mark()
    if _ledger:
        _ledger.take_place(worker, _CORES)
    if _budget:
        _budget.clear(worker)


if _MASTER and _text("hook-accepting") == "callint:uwsgi_unblock_signal 1":
    # Workers inherit the block, so a worker that is forked during a stop does not get SIGHUP before it has a handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
if _MASTER and os.environ.get("WAKE_MASTER") != "0":
    # The handler does nothing, but because there is one, the signal ends the master's wait for events.
    signal.signal(signal.SIGCHLD, lambda *_: None)
_wrapped = _wrap()
if not _wrapped and _give_back:
    print(
        "lowtide: the application is not loaded by `module =` before the fork: heap is given back after uWSGI has "
        "read RSS, so reload-on-rss sees it one request late",
        file=sys.stderr,
        flush=True,
    )
# This comes after the application is loaded, because it may have set hooks of its own.
_HOOKS: dict[str, Callable[[], object]] = {"post_fork_hook": _arrive, "atexit": _leave, "after_req_hook": _end}
for _name, _hook in _HOOKS.items():
    _application_hooks[_name] = getattr(uwsgi, _name, None)
    setattr(uwsgi, _name, _hook)
if _IDLE_S and _give_back and _wrapped and _MASTER and _number("threads") < 2:
    _number_of_look = next(number for number in range(255, 0, -1) if not uwsgi.signal_registered(number))
    # Not `workers`, because a worker that cheaper has stopped does not read its signals, and their pipe would be full
    # after some minutes.
    uwsgi.register_signal(_number_of_look, "active-workers", _look)
    uwsgi.add_timer(_number_of_look, 1)
if not _LAZY and os.environ.get("GC_FREEZE") != "0":
    gc.collect()
    if (os.environ.get("IMMORTAL") or defaults.IMMORTAL) == "1":
        immortal.immortalize()
    if os.environ.get("FILL_HOLES") != "0":
        _fillers = holes.fill()
    gc.freeze()
