"""The adapter for uWSGI, one line in uwsgi.ini:

    shared-import = lowtide.uwsgi

Around the application that `module =` names, whose code stays as it is:
- gives heap back after a request that made the worker grow (`lowtide.give_back`); GIVE_BACK_MB in the environment is
  the threshold in MiB, 8 unless said otherwise, 0 for never;
- reads request bodies in parts, so that uWSGI does not hold each a second time, and to their end;
- tells who still waits for a worker when the server stops to come back (`lowtide.waiting`, with `shutdown-sockets`);
- drops lines of the log that nobody reads, where they would hold a worker (`lowtide.logs`);
- ends a request that outgrows what the container can carry with 503, and replaces its worker (`lowtide.ceiling`);
- turns away requests whose client has left or that waited for more than QUEUE_S seconds (`lowtide.overload`);
- freezes what is loaded before the fork (gc.freeze): the garbage collector of a worker would otherwise write into every
  object, and so copy every page that it shares with the others; GC_FREEZE=0 leaves that out;
- keeps account of what requests take at their peak, by route (`lowtide.ledger`); LEDGER=0 leaves that out;
- logs why workers are replaced (`lowtide.recycles`);
- runs what the application registered with `atexit` before a worker leaves, such as the flush of an error reporter:
  with skip-atexit-teardown uWSGI leaves that out;
- bounds every way out: a request of a server that stops, which uWSGI's harakiri no longer looks at, and a worker that
  hangs in its exit, which uWSGI at its lifetime never replaces, are ended by the kernel (`lowtide.deadline`);
- has the master notice at once that a worker has gone. By itself it looks once a second (core/master.c:687, 759), and
  the place stays empty for as long; WAKE_MASTER=0 leaves that out;
- lets workers leave one after the other, when several reach a limit together;
- has SIGTERM end a server that is still loading its application. By itself uWSGI ignores it until its master runs
  (core/uwsgi.c:2071, core/master.c:347), and who asked for the stop waits in vain;
- with `set-placeholder = lowtide-recycle-idle=3` replaces a worker that has had no request for so many seconds and
  still holds GIVE_BACK_MB more than when it was forked, unless that is needed (`lowtide.idle`): nobody waits for that
  one. Health checks are no requests here: they would keep every worker busy. Not with threads, nor without a master.

Hooks that the application sets in the module `uwsgi` while it is loaded (uwsgidecorators does) are called after these.
One that it sets later takes the place of these, so a line says so, {"event": "overwritten", "hook": ...}.

With lazy-apps the application is loaded after the fork and nothing is shared: heap is given back a moment later
(after_req_hook, which runs after uWSGI has read RSS for reload-on-rss), workers that leave in good order log their own
end, those that are killed leave uWSGI's own line ("DAMN ! worker ... died"). The same holds for an application that
is named otherwise than by `module =`.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import uwsgi

from lowtide import application, ceiling, ledger, logs, recycles, waiting
from lowtide.deadline import Deadline
from lowtide.give_back import GiveBack, threshold_mb
from lowtide.idle import Learned
from lowtide.overload import Shed, queue_s
from lowtide.wsgi import AfterResponse, Environ, read_in_parts, read_to_the_end


def _text(name: str) -> str:
    """An option's value, of a repeated one the last; empty when it is not set."""
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
    """A switch as uWSGI reads it (core/uwsgi.c:3947): every text but four is true."""
    return name in uwsgi.opt and _text(name).lower() not in ("false", "off", "no", "0")


# Before the application is loaded: its loggers take hold of sys.stderr.
logs.never_block()
_LAZY = _is_on("lazy-apps") or _is_on("lazy")
_MASTER = _is_on("master")
_MAX_REQUESTS, _MAX_REQUESTS_DELTA = _number("max-requests"), _number("max-requests-delta")
_LIFETIME, _LIFETIME_DELTA = _number("max-worker-lifetime"), _number("max-worker-lifetime-delta")
_RSS = _number("reload-on-rss")
_HARAKIRI = _number("harakiri")
_IDLE_S = _number("lowtide-recycle-idle")
_THRESHOLD_MB = threshold_mb()
# Copies, because a worker that leaves for good closes uWSGI's.
_listening = [os.dup(descriptor) for descriptor in uwsgi.sockets]
_slots = recycles.Slots(uwsgi.numproc)
_give_back = GiveBack(_THRESHOLD_MB) if _THRESHOLD_MB else None
_LINE_MB = ledger.line_mb()
_RUN_DIR = os.environ.get("RUN_DIR")
_ledger = ledger.Ledger(uwsgi.numproc, _LINE_MB, Path(_RUN_DIR, "ledger") if _RUN_DIR else None) if _LINE_MB else None
_learned = Learned(uwsgi.numproc, _THRESHOLD_MB)
# How long to wait for the successor of another worker: a fork away, unless something is wrong.
_TURN_S = 2.0
# What a worker may take for its last words: its own atexit functions, and the end of the process.
_OUT_S = 5.0
# The master looks once a second, and counts in whole seconds: it comes first wherever it still looks.
_AFTER_HARAKIRI_S = 3.0
# When this worker was last busy, by the monotonic clock, and whether its last request was a health check.
_busy = time.monotonic()
_checked = False


def _health_paths() -> frozenset[str]:
    """Where the application answers health checks: as its lowtide.toml says, else as lowtide.django.health does."""
    if application.find() is None:
        return frozenset({"/healthz", "/readyz"})
    described = application.read()
    return frozenset({described.live, described.ready})


_HEALTH = _health_paths()


# Since when this worker's threads have been in their requests, by the monotonic clock.
_running: dict[int, float] = {}
_deadline: Deadline | None = None
_arrived = 0
# What stood in uWSGI's module in place of our hooks.
_theirs: dict[str, Callable[[], object] | None] = {}


def _begin(environ: Environ) -> None:
    global _checked
    _check_hooks()
    _checked = environ.get("PATH_INFO") in _HEALTH
    _slots.begin_request(uwsgi.worker_id())
    _running[threading.get_ident()] = time.monotonic()
    _bound_requests()


def _bound_requests() -> None:
    """Have the kernel end this worker when its oldest request has run for longer than harakiri."""
    if not _deadline or not _HARAKIRI:
        return
    if _running:
        left_s = min(_running.values()) + _HARAKIRI + _AFTER_HARAKIRI_S - time.monotonic()
        _deadline.set(max(left_s, 0.001))
    else:
        _deadline.set(0)


def _close() -> None:
    if _ledger:
        _ledger.close()
    if _give_back:
        _give_back()


def _end() -> None:
    """The end of a request, after uWSGI has freed its buffer of the body (core/utils.c:1106, 1110)."""
    global _busy, _checked
    if not _wrapped:
        _check_hooks()
    if _give_back:
        (_give_back.rest if _wrapped else _give_back)()
    if _ledger:
        _ledger.end(_give_back.asked_mb if _give_back else 0.0)
    _slots.end_request(uwsgi.worker_id())
    _running.pop(threading.get_ident(), None)
    _bound_requests()
    if not _checked:
        _busy = time.monotonic()
    _checked = False
    if ceiling.met():
        os.kill(os.getpid(), signal.SIGHUP)
    _call_theirs("after_req_hook")


def _look(_: int) -> None:
    """Once a second, between requests: leave if idle for long enough, worker N - 1 a second after worker N."""
    worker = uwsgi.worker_id()
    if not _give_back or time.monotonic() - _busy < _IDLE_S + uwsgi.numproc - worker:
        return
    if _learned.worth_replacing(worker, _give_back.kept_mb, _give_back.live_mb):
        _learned.let_go(worker, _give_back.live_mb)
        # uWSGI counts a worker in a signal's handler as busy, and lets a busy one go without calling atexit.
        _leave("idle")
        os.kill(os.getpid(), signal.SIGHUP)


def _ceiling_mb(worker: int) -> float:
    """How far this worker may grow (lowtide.start); 0 for as far as it likes."""
    large = str(worker) in os.environ.get("LARGE_WORKER_IDS", "").split(",")
    return float(os.environ.get("LARGE_CEILING_MB" if large else "SMALL_CEILING_MB") or 0)


def _wrap() -> bool:
    """Put the callbacks around the application before uWSGI loads it; False when it cannot be found beforehand."""
    name, _, attribute = (_text("module") or _text("wsgi")).partition(":")
    if _LAZY or not name:
        return False
    attribute = attribute or _text("callable") or "application"
    # Nothing has been forked yet, and nobody is served.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        module: ModuleType = importlib.import_module(name)
        # `module = shop:create_app()` names a function that makes the application.
        attribute, made = attribute.removesuffix("()"), attribute.endswith("()")
        loaded = getattr(module, attribute, None)
        # What is not there, and several applications in a dictionary, are left to uWSGI.
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
    loaded = Shed(AfterResponse(loaded, _close, _begin), uwsgi.connection_fd, queue_s(), uwsgi.worker_id)
    wrapped = read_to_the_end(loaded)
    setattr(module, attribute, (lambda: wrapped) if made else wrapped)
    return True


def _call_theirs(name: str) -> None:
    theirs = _theirs.pop(name, None)
    if theirs is None:
        return
    try:
        # Theirs may call ours, which they found in their place: not in circles.
        theirs()
    finally:
        _theirs[name] = theirs


def _check_hooks() -> None:
    """Say which of our hooks the application has replaced since it was loaded, and put them before its own again."""
    for name in ("post_fork_hook", "atexit"):
        theirs = getattr(uwsgi, name, None)
        if theirs is _HOOKS[name]:
            continue
        _theirs[name] = theirs
        setattr(uwsgi, name, _HOOKS[name])
        # In a worker, which forks no workers, the first of them is missed by nobody.
        if name == "atexit" or _arrived != os.getpid():
            when, worker = round(time.time(), 3), uwsgi.worker_id()
            line = {"event": "overwritten", "time": when, "worker": worker, "hook": f"uwsgi.{name}"}
            print(json.dumps(line), file=sys.stderr, flush=True)
    if _arrived != os.getpid():
        _take_place()


def _reason(worker: int, requests: int, age_s: float, rss_mb: float) -> str:
    """The first limit that is reached, in the order in which uWSGI asks (core/utils.c:1192-1201)."""
    if _MAX_REQUESTS and requests >= _MAX_REQUESTS + (worker - 1) * _MAX_REQUESTS_DELTA:
        return "requests"
    if _RSS and rss_mb >= _RSS:
        return "rss"
    if _LIFETIME and age_s > _LIFETIME + (worker - 1) * _LIFETIME_DELTA:
        return "lifetime"
    return "signal"


def _leave(reason: str = "") -> None:
    worker = uwsgi.worker_id()
    if not worker:
        return
    figures = uwsgi.workers()[worker - 1]
    # The very figure that reload-on-rss was compared with.
    requests, rss_mb = figures["delta_requests"], figures["rss"] / 2**20
    age_s = time.time() - figures["last_spawn"]
    reason = reason or ("ceiling" if ceiling.met() else _reason(worker, requests, age_s, rss_mb))
    if _LAZY:
        end = recycles.Recycle(time.time(), worker, os.getpid(), reason, round(age_s, 3), requests, round(rss_mb, 1))
        recycles.log(end)
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
    _call_theirs("atexit")
    if _is_on("skip-atexit-teardown"):
        atexit._run_exitfuncs()


def _arrive() -> None:
    if _arrived != os.getpid():
        _take_place()
    _call_theirs("post_fork_hook")


def _take_place() -> None:
    """The start of a worker, after the fork."""
    global _arrived, _busy, _deadline
    _arrived = os.getpid()
    _busy = time.monotonic()
    # Only the master waits for workers.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    worker = uwsgi.worker_id()
    if not worker:
        return
    try:
        _deadline = Deadline()
    except OSError as error:
        print(f"lowtide: a worker that hangs in its exit is not ended: {error}", file=sys.stderr, flush=True)
    if _wrapped and (room_mb := _ceiling_mb(worker)):
        ceiling.arm(room_mb)
    if not _LAZY and (end := _slots.born(worker, os.getpid(), _HARAKIRI)):
        recycles.log(end)
    if _give_back:
        _give_back.mark()
    if _ledger:
        _ledger.take_place(worker, max(map(_number, ("threads", "async", "gevent"))))


if _MASTER and _text("hook-accepting") == "callint:uwsgi_unblock_signal 1":
    # Workers inherit it. One that is forked while a stop sends SIGHUP has no handler yet.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
if _MASTER and os.environ.get("WAKE_MASTER") != "0":
    # Nothing is done in the handler: that there is one ends the master's wait for events.
    signal.signal(signal.SIGCHLD, lambda *_: None)
_wrapped = _wrap()
if not _wrapped and _give_back:
    print(
        "lowtide: the application is not loaded by `module =` before the fork: heap is given back after uWSGI has "
        "read RSS, so reload-on-rss sees it one request late",
        file=sys.stderr,
        flush=True,
    )
# After the application is loaded: it may have set some itself.
_HOOKS: dict[str, Callable[[], object]] = {"post_fork_hook": _arrive, "atexit": _leave, "after_req_hook": _end}
for _name, _hook in _HOOKS.items():
    _theirs[_name] = getattr(uwsgi, _name, None)
    setattr(uwsgi, _name, _hook)
if _IDLE_S and _give_back and _wrapped and _MASTER and _number("threads") < 2:
    _number_of_look = next(number for number in range(255, 0, -1) if not uwsgi.signal_registered(number))
    # Not `workers`: nobody empties the pipe of a worker that cheaper has put to rest, and it is full after minutes.
    uwsgi.register_signal(_number_of_look, "active-workers", _look)
    uwsgi.add_timer(_number_of_look, 1)
if not _LAZY and os.environ.get("GC_FREEZE") != "0":
    gc.collect()
    gc.freeze()
