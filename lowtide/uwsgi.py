"""The adapter for uWSGI, one line in uwsgi.ini:

    shared-import = lowtide.uwsgi

Around the application that `module =` names, whose code stays as it is:
- gives heap back after a request that made the worker grow (`lowtide.give_back`); GIVE_BACK_MB in the environment is
  the threshold in MiB, 8 unless said otherwise, 0 for never;
- freezes what is loaded before the fork (gc.freeze): the garbage collector of a worker would otherwise write into every
  object, and so copy every page that it shares with the others;
- logs why workers are replaced (`lowtide.recycles`).

With lazy-apps the application is loaded after the fork and nothing is shared: heap is given back a moment later
(after_req_hook, which runs after uWSGI has read RSS for reload-on-rss), workers that leave in good order log their own
end, those that are killed leave uWSGI's own line ("DAMN ! worker ... died"). The same holds for an application that
is named otherwise than by `module =`.
"""

import gc
import importlib
import os
import sys
import time
from types import ModuleType

import uwsgi

from lowtide import recycles
from lowtide.give_back import DEFAULT_THRESHOLD_MB, GiveBack
from lowtide.wsgi import AfterResponse


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


_LAZY = "lazy-apps" in uwsgi.opt or "lazy" in uwsgi.opt
_MAX_REQUESTS, _MAX_REQUESTS_DELTA = _number("max-requests"), _number("max-requests-delta")
_LIFETIME, _LIFETIME_DELTA = _number("max-worker-lifetime"), _number("max-worker-lifetime-delta")
_RSS = _number("reload-on-rss")
_HARAKIRI = _number("harakiri")
_THRESHOLD_MB = float(os.environ.get("GIVE_BACK_MB") or DEFAULT_THRESHOLD_MB)
_slots = recycles.Slots(uwsgi.numproc)
_give_back = GiveBack(_THRESHOLD_MB) if _THRESHOLD_MB else None


def _begin() -> None:
    _slots.begin_request(uwsgi.worker_id())


def _end() -> None:
    if _give_back:
        _give_back()
    _slots.end_request(uwsgi.worker_id())


def _wrap() -> bool:
    """Put the callbacks around the application before uWSGI loads it; False when it cannot be found beforehand."""
    name, _, attribute = (_text("module") or _text("wsgi")).partition(":")
    if _LAZY or not name:
        return False
    attribute = attribute or _text("callable") or "application"
    module: ModuleType = importlib.import_module(name)
    setattr(module, attribute, AfterResponse(getattr(module, attribute), _end, _begin))
    return True


def _reason(worker: int, requests: int, age_s: float, rss_mb: float) -> str:
    """The first limit that is reached, in the order in which uWSGI asks (core/utils.c:1192-1201)."""
    if _MAX_REQUESTS and requests >= _MAX_REQUESTS + (worker - 1) * _MAX_REQUESTS_DELTA:
        return "requests"
    if _RSS and rss_mb >= _RSS:
        return "rss"
    if _LIFETIME and age_s > _LIFETIME + (worker - 1) * _LIFETIME_DELTA:
        return "lifetime"
    return "signal"


def _leave() -> None:
    worker = uwsgi.worker_id()
    if not worker:
        return
    figures = uwsgi.workers()[worker - 1]
    # The very figure that reload-on-rss was compared with.
    requests, rss_mb = figures["delta_requests"], figures["rss"] / 2**20
    age_s = time.time() - figures["last_spawn"]
    reason = _reason(worker, requests, age_s, rss_mb)
    if _LAZY:
        end = recycles.Recycle(time.time(), worker, os.getpid(), reason, round(age_s, 3), requests, round(rss_mb, 1))
        recycles.log(end)
    else:
        _slots.say(worker, reason, requests, rss_mb)


def _arrive() -> None:
    worker = uwsgi.worker_id()
    if worker and not _LAZY and (end := _slots.born(worker, os.getpid(), _HARAKIRI)):
        recycles.log(end)
    if worker and _give_back:
        _give_back.mark()
    if _previous:
        _previous()


_previous = getattr(uwsgi, "post_fork_hook", None)
uwsgi.post_fork_hook = _arrive
uwsgi.atexit = _leave
_wrapped = _wrap()
if _give_back:
    # uWSGI's own buffer of the body is freed between the response's close() and this hook (core/utils.c:1106, 1110).
    uwsgi.after_req_hook = _give_back.rest if _wrapped else _give_back
if _give_back and not _wrapped:
    print(
        "lowtide: the application is not loaded by `module =` before the fork: heap is given back after uWSGI has "
        "read RSS, so reload-on-rss sees it one request late",
        file=sys.stderr,
        flush=True,
    )
if not _LAZY:
    gc.collect()
    gc.freeze()
