"""Why a worker was replaced. uWSGI 2.0 logs no reason, so its successor does, in one line of JSON on stderr:

    {"event": "recycle", "time": 1700000000.0, "worker": 2, "pid": 41, "reason": "rss",
     "age_s": 12.5, "requests": 431, "rss_mb": 201.4, "away_s": 0.023}

Reasons: `requests` (max-requests), `rss` (reload-on-rss), `lifetime` (max-worker-lifetime), `idle` (lowtide.uwsgi: it
kept memory and nobody needed it), `signal` (told to go in good order), `hung` (killed by harakiri), `ceiling` (a
request outgrew lowtide.ceiling), `oom` (killed by the kernel for memory), `died` (any other sudden end).

`away_s` is how long nobody stood in its place. A worker that leaves in good order writes its last words into memory
that all workers share; one that is killed cannot, and its successor concludes from the silence. No server is named
here; `lowtide.uwsgi` is the adapter.
"""

import fcntl
import json
import mmap
import os
import struct
import sys
import time
from dataclasses import asdict, dataclass

from lowtide import memory

# Born, current request begun (0: none), both Unix seconds; pid. Then the last words, as JSON.
_HEAD = struct.Struct("=ddq")
_SLOT = 256
_KILLS = struct.Struct("=q")
# How often a worker that waits for its turn looks.
_LOOK_S = 0.002


@dataclass(frozen=True)
class Recycle:
    """The end of one worker. Times in seconds, memory in MiB; None where nobody knows.

    `time` is when its successor started, `away_s` how long before that it stopped.
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
    """Memory that all workers share, made before they fork: a slot for each, and the OOM kills accounted for so far.

    With threads the beginning of a request is that of the youngest one.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, _SLOT * (workers + 1))
        self._turn = os.memfd_create("lowtide-turn")
        _KILLS.pack_into(self._memory, 0, memory.oom_kills() or 0)

    def begin_request(self, worker: int) -> None:
        struct.pack_into("=d", self._memory, worker * _SLOT + 8, time.time())

    def end_request(self, worker: int) -> None:
        struct.pack_into("=d", self._memory, worker * _SLOT + 8, 0.0)

    def say(self, worker: int, reason: str, requests: int, rss_mb: float) -> None:
        """The last words of a worker that leaves in good order."""
        start = worker * _SLOT + _HEAD.size
        words = json.dumps([reason, requests, round(rss_mb, 1), time.time()]).encode()
        self._memory[start : start + len(words)] = words

    def _words(self, worker: int) -> tuple[str, int, float, float] | None:
        """The last words of a worker that has no successor yet, and when it said them."""
        start = worker * _SLOT
        text = self._memory[start + _HEAD.size : start + _SLOT].rstrip(b"\0")
        try:
            reason, requests, rss_mb, left = json.loads(text)
            return str(reason), int(requests), float(rss_mb), float(left)
        except (ValueError, TypeError):
            # Nothing was said, or it was killed in the middle of it.
            return None

    def wait_for_turn(self, worker: int, longest_s: float) -> bool:
        """Before leaving, wait while another worker is away; returns whether it is this one's turn.

        The turn ends with the process. Whoever is away for `longest_s` seconds is not waited for.
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
                if all(time.time() - when >= longest_s for when in left):
                    return True
                fcntl.lockf(self._turn, fcntl.LOCK_UN)
            time.sleep(_LOOK_S)
        return False

    def born(self, worker: int, pid: int, harakiri_s: float) -> Recycle | None:
        """Take over the slot of `worker` (from 1); returns the end of its predecessor, None when there was none.

        A request that ran for `harakiri_s` seconds (0: no limit) when its worker vanished was killed for it.
        """
        start = worker * _SLOT
        birth, request, old_pid = _HEAD.unpack_from(self._memory, start)
        words = self._words(worker)
        now = time.time()
        self._memory[start : start + _SLOT] = bytes(_SLOT)
        _HEAD.pack_into(self._memory, start, now, 0.0, pid)
        if not old_pid:
            return None
        when, age_s = round(now, 3), round(now - birth, 3)
        if not words:
            return Recycle(when, worker, old_pid, self._sudden(now, request, harakiri_s), age_s, None, None)
        reason, requests, rss_mb, left = words
        return Recycle(when, worker, old_pid, reason, age_s, requests, rss_mb, round(now - left, 3))

    def _sudden(self, now: float, request: float, harakiri_s: float) -> str:
        (accounted,) = _KILLS.unpack_from(self._memory, 0)
        if (memory.oom_kills() or 0) > accounted:
            # One kill explains one death.
            _KILLS.pack_into(self._memory, 0, accounted + 1)
            return "oom"
        # uWSGI counts in whole seconds, from a little before the application is called.
        return "hung" if harakiri_s and request and now - request >= harakiri_s - 1 else "died"


def log(recycle: Recycle) -> None:
    print(recycle.line(), file=sys.stderr, flush=True)
