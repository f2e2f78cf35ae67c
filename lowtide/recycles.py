"""Logs why a worker was replaced. uWSGI 2.0 does not log it, so the worker's successor does, as JSON on stderr:

    {"event": "recycle", "time": 1700000000.0, "worker": 2, "pid": 41, "reason": "rss",
     "age_s": 12.5, "requests": 431, "rss_mb": 201.4, "away_s": 0.023}

Reasons: `requests` (max-requests), `rss` (reload-on-rss), `lifetime` (max-worker-lifetime), `idle` (lowtide.uwsgi: the
worker kept memory and had no requests), `signal` (told to end by a signal), `hung` (killed by harakiri), `ceiling` (a
request exceeded lowtide.ceiling), `oom` (killed by the kernel for memory), `died` (any other sudden end).

`away_s` is the time from the worker's end to its successor's start. A worker that ends normally writes the reason into
memory that all workers share. One that is killed cannot, so its successor works the reason out. This module does not
depend on a particular server; `lowtide.uwsgi` is the adapter.
"""

import fcntl
import json
import os
import struct
import sys
import time
from dataclasses import asdict, dataclass

from lowtide import memory

REASONS = ("requests", "rss", "lifetime", "idle", "signal", "hung", "ceiling", "oom", "died")
# Start of the worker and of its current request (0: none), on the monotonic clock, which all processes of a machine
# share and which nobody sets; pid. The reason of its end follows as JSON.
_HEAD = struct.Struct("=ddq")
_TIME = struct.Struct("=d")
_SLOT = 256
_KILLS = struct.Struct("=q")
# How often a worker that waits for its turn checks, in seconds.
_LOOK_S = 0.002


@dataclass(frozen=True)
class Recycle:
    """The end of one worker. Times in seconds, memory in MiB; None where the figure is not known.

    `time` is when its successor started, `away_s` how long before that the worker ended.
    """

    time: float
    worker: int
    pid: int
    reason: str
    age_s: float
    requests: int | None
    rss_mb: float | None
    away_s: float | None = None

    def line(self) -> str:
        return json.dumps({"event": "recycle"} | asdict(self))


class Slots:
    """Memory that all workers share, made before they fork: a slot for each, and how many OOM kills are explained.

    A worker with threads notes the start of its latest request only.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = memory.shared(_SLOT * (workers + 1))
        self._turn = os.memfd_create("lowtide-turn")
        memory.put(self._memory, 0, _KILLS, memory.oom_kills() or 0)

    def begin_request(self, worker: int) -> None:
        memory.put(self._memory, worker * _SLOT + 8, _TIME, time.monotonic())

    def end_request(self, worker: int) -> None:
        memory.put(self._memory, worker * _SLOT + 8, _TIME, 0.0)

    def say(self, worker: int, reason: str, requests: int, rss_mb: float) -> None:
        """Note why `worker` ends normally, for its successor."""
        start = worker * _SLOT + _HEAD.size
        words = json.dumps([reason, requests, round(rss_mb, 1), time.monotonic()]).encode()
        self._memory[start : start + len(words)] = words

    def _words(self, worker: int) -> tuple[str, int, float, float] | None:
        """Reason, requests, RSS and time (monotonic) of the end that `worker` has noted; None where it noted none."""
        start = worker * _SLOT
        text = self._memory[start + _HEAD.size : start + _SLOT].rstrip(b"\0")
        try:
            reason, requests, rss_mb, left = json.loads(text)
            return str(reason), int(requests), float(rss_mb), float(left)
        except (ValueError, TypeError):
            # The worker noted nothing, or was killed while it wrote.
            return None

    def wait_for_turn(self, worker: int, longest_s: float) -> bool:
        """Before ending, wait while another worker is being replaced. Returns whether it is this worker's turn.

        The turn ends with the process. A worker that ended more than `longest_s` seconds ago is not waited for.
        """
        others = [other for other in range(1, self._workers + 1) if other != worker]
        deadline = time.monotonic() + longest_s
        while time.monotonic() < deadline:
            try:
                fcntl.lockf(self._turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                left = [words[3] for other in others if (words := self._words(other))]
                if all(time.monotonic() - when >= longest_s for when in left):
                    return True
                fcntl.lockf(self._turn, fcntl.LOCK_UN)
            time.sleep(_LOOK_S)
        return False

    def born(self, worker: int, pid: int, harakiri_s: float) -> Recycle | None:
        """Take over the slot of `worker` (from 1). Returns the end of its predecessor, None when there was none.

        When a request had run for `harakiri_s` seconds (0: no limit), harakiri is taken to have killed the worker.
        """
        start = worker * _SLOT
        birth, request, old_pid = _HEAD.unpack_from(self._memory, start)
        words = self._words(worker)
        # Both clocks are read before the slot is taken over, because the next worker may leave from then on.
        now, when = time.monotonic(), round(time.time(), 3)
        self._memory[start : start + _SLOT] = bytes(_SLOT)
        memory.put(self._memory, start, _HEAD, now, 0.0, pid)
        if not old_pid:
            return None
        age_s = round(now - birth, 3)
        if not words:
            return Recycle(when, worker, old_pid, self._sudden(now, request, harakiri_s), age_s, None, None)
        reason, requests, rss_mb, left = words
        return Recycle(when, worker, old_pid, reason, age_s, requests, rss_mb, round(now - left, 3))

    def _sudden(self, now: float, request: float, harakiri_s: float) -> str:
        (accounted,) = _KILLS.unpack_from(self._memory, 0)
        if (memory.oom_kills() or 0) > accounted:
            # Each OOM kill explains the end of one worker.
            memory.put(self._memory, 0, _KILLS, accounted + 1)
            return "oom"
        # uWSGI counts harakiri in whole seconds, from a moment before it calls the application.
        return "hung" if harakiri_s and request and now - request >= harakiri_s - 1 else "died"


def log(recycle: Recycle) -> None:
    print(recycle.line(), file=sys.stderr, flush=True)
