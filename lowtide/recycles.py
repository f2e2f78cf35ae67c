"""Why a worker was replaced. uWSGI 2.0 logs no reason, so its successor does, in one line of JSON on stderr:

    {"event": "recycle", "time": 1700000000.0, "worker": 2, "pid": 41, "reason": "rss",
     "age_s": 12.5, "requests": 431, "rss_mb": 201.4}

Reasons: `requests` (max-requests), `rss` (reload-on-rss), `lifetime` (max-worker-lifetime), `idle` (lowtide.uwsgi: it
kept memory and nobody needed it), `signal` (told to go in good order), `hung` (killed by harakiri), `oom` (killed by
the kernel for memory), `died` (any other sudden end).

A worker that leaves in good order writes its last words into memory that all workers share; one that is killed cannot,
and its successor concludes from the silence. No server is named here; `lowtide.uwsgi` is the adapter.
"""

import json
import mmap
import struct
import sys
import time
from dataclasses import asdict, dataclass

from lowtide import memory

# Born, current request begun (0: none), both Unix seconds; pid. Then the last words, as JSON.
_HEAD = struct.Struct("=ddq")
_SLOT = 256
_KILLS = struct.Struct("=q")


@dataclass(frozen=True)
class Recycle:
    """The end of one worker. Times in seconds, memory in MiB; `requests` and `rss_mb` are None where nobody knows."""

    time: float
    worker: int
    pid: int
    reason: str
    age_s: float
    requests: int | None
    rss_mb: float | None

    def line(self) -> str:
        return json.dumps({"event": "recycle"} | asdict(self))


class Slots:
    """Memory that all workers share, made before they fork: a slot for each, and the OOM kills accounted for so far.

    With threads the beginning of a request is that of the youngest one.
    """

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, _SLOT * (workers + 1))
        _KILLS.pack_into(self._memory, 0, memory.oom_kills() or 0)

    def begin_request(self, worker: int) -> None:
        struct.pack_into("=d", self._memory, worker * _SLOT + 8, time.time())

    def end_request(self, worker: int) -> None:
        struct.pack_into("=d", self._memory, worker * _SLOT + 8, 0.0)

    def say(self, worker: int, reason: str, requests: int, rss_mb: float) -> None:
        """The last words of a worker that leaves in good order."""
        start = worker * _SLOT + _HEAD.size
        words = json.dumps([reason, requests, round(rss_mb, 1)]).encode()
        self._memory[start : start + len(words)] = words

    def born(self, worker: int, pid: int, harakiri_s: float) -> Recycle | None:
        """Take over the slot of `worker` (from 1); returns the end of its predecessor, None when there was none.

        A request that ran for `harakiri_s` seconds (0: no limit) when its worker vanished was killed for it.
        """
        start = worker * _SLOT
        birth, request, old_pid = _HEAD.unpack_from(self._memory, start)
        words = self._memory[start + _HEAD.size : start + _SLOT].rstrip(b"\0")
        now = time.time()
        self._memory[start : start + _SLOT] = bytes(_SLOT)
        _HEAD.pack_into(self._memory, start, now, 0.0, pid)
        if not old_pid:
            return None
        reason, requests, rss = json.loads(words) if words else (self._sudden(now, request, harakiri_s), None, None)
        return Recycle(round(now, 3), worker, old_pid, reason, round(now - birth, 3), requests, rss)

    def _sudden(self, now: float, request: float, harakiri_s: float) -> str:
        (accounted,) = _KILLS.unpack_from(self._memory, 0)
        if (memory.oom_kills() or 0) > accounted:
            # One kill explains one death.
            _KILLS.pack_into(self._memory, 0, accounted + 1)
            return "oom"
        return "hung" if harakiri_s and request and now - request >= harakiri_s else "died"


def log(recycle: Recycle) -> None:
    print(recycle.line(), file=sys.stderr, flush=True)
