"""Admits large requests by the memory that they need: as many at once as fit, and one that does not fit waits.

Without it LARGE_WORKERS bounds how many large requests run at once, and has to be low enough for the largest of them.
With it, LARGE_WORKERS only bounds how many processors they take.

ADMISSION of the environment is `off`, `auto` (what the container's limit leaves), or how many MiB all large requests
may take together. A worker for large requests reserves, before it calls the application, what requests of its kind have
taken at most (lowtide.kinds); while nothing is known, LARGE_NEED_MB. It waits until that much is free, and answers 503
when the request has waited for QUEUE_S seconds. A request that is alone is always admitted. What a request takes beyond
its reservation counts too. A reservation ends with the request or its worker.

One request of those that run may need more than any of its kind before (NEED_MARGIN). The margin is kept free once, for
the largest of them: that several exceed their reservations at the same moment is far less likely.

Workers for small requests do none of this. This module does not depend on a particular server.
"""

import fcntl
import math
import os
import struct
import time
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lowtide import defaults, memory
from lowtide.busy import answer_busy
from lowtide.kinds import Kinds, kind
from lowtide.overload import waited_s
from lowtide.sizing import NEED_MARGIN
from lowtide.wsgi import Application, Environ

# What a worker has reserved: its pid (0 when it serves no request), MiB, its RSS before the request, and since when the
# request waits (monotonic clock; 0 once it is admitted).
_SLOT = struct.Struct("=qddd")
# MiB of the container's limit that stay free: the health check's Python (10), and a reserve (8). The rest of
# HEADROOM_MB (lowtide.sizing), the kernel's memory and a sampler, is in the working set, which each decision reads.
_FREE_MB = 18
# How often a worker that waits looks, in seconds.
_LOOK_S = 0.01
# A smaller request may run before one that waits for more memory, until that one has waited for this many seconds.
# Otherwise a large one might never find enough free.
_PATIENCE_S = 1.0


def budget(workers: int) -> "Budget | None":
    """The budget that ADMISSION of the environment names; None where it is off."""
    chosen = os.environ.get("ADMISSION") or defaults.ADMISSION
    if chosen == "off":
        return None
    return Budget(workers, None if chosen == "auto" else float(chosen), float(os.environ.get("LARGE_NEED_MB") or 0))


class Budget:
    """The memory for large requests, shared by all workers. Make it before the fork.

    Args:
        workers: how many workers there are, numbered from 1.
        room_mb: how much all large requests may take together; None for what the container's limit leaves.
        need_mb: what a request of an unknown kind reserves; 0 for all.
    """

    def __init__(self, workers: int, room_mb: float | None, need_mb: float) -> None:
        self._workers = workers
        self._room_mb = room_mb
        self._need_mb = need_mb or math.inf
        self._memory = memory.shared(_SLOT.size * (workers + 1))
        self._kinds = Kinds()
        self._lock = os.memfd_create("lowtide-admission")
        self._mine: tuple[int, int] | None = None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel takes the lock from a process that ends.
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _slots(self) -> Iterator[tuple[int, float, float, float]]:
        for worker in range(1, self._workers + 1):
            slot = _SLOT.unpack_from(self._memory, worker * _SLOT.size)
            if slot[0]:
                yield slot

    def need_mb(self, wanted: int) -> float:
        """What a request of this kind reserves."""
        highest_mb = self._kinds.highest_mb(wanted)
        return self._need_mb if highest_mb is None else highest_mb

    def _admits(self, need_mb: float, since: float) -> bool:
        """Whether a request that has waited since then may run beside those that run."""
        now, used_mb = time.monotonic(), 0.0
        reserved_mb = [need_mb]
        for pid, others_mb, before_mb, waits_since in self._slots():
            try:
                grown_mb = max(0.0, memory.rss_mb(pid) - before_mb)
            except (OSError, IndexError):
                # The worker was killed, and its successor has not started yet.
                continue
            if pid == os.getpid():
                continue
            if waits_since:
                if waits_since < since and now - waits_since > _PATIENCE_S:
                    return False
                continue
            used_mb += grown_mb
            reserved_mb.append(max(others_mb, grown_mb))
        margin_mb = (NEED_MARGIN - 1) * max(reserved_mb)
        return len(reserved_mb) == 1 or sum(reserved_mb) + margin_mb <= self._free_mb(used_mb)

    def _free_mb(self, used_mb: float) -> float:
        """How much all large requests may take together, when those that run have taken `used_mb` so far."""
        if self._room_mb is not None:
            return self._room_mb
        limit_mb, now_mb = memory.limit_mb(), memory.working_set_mb()
        if limit_mb is None or now_mb is None:
            return math.inf
        return limit_mb - _FREE_MB - (now_mb - used_mb)

    def reserve(self, worker: int, wanted: int, longest_s: float, gone: Callable[[], bool]) -> bool:
        """Wait until the memory for a request of this kind is free, and reserve it; False when it took too long.

        Args:
            gone: whether the client has disconnected.
        """
        since = time.monotonic()
        at = worker * _SLOT.size
        while True:
            with self._locked():
                need_mb = self.need_mb(wanted)
                admitted = self._admits(need_mb, since)
                waits_since = 0.0 if admitted else since
                memory.put(self._memory, at, _SLOT, os.getpid(), need_mb, memory.rss_mb(), waits_since)
            if admitted:
                self._mine = worker, wanted
                return True
            if time.monotonic() - since >= longest_s or gone():
                self.clear(worker)
                return False
            time.sleep(_LOOK_S)

    def clear(self, worker: int) -> None:
        """Forget what `worker` has reserved: its request has ended, or it is a new process."""
        memory.put(self._memory, worker * _SLOT.size, _SLOT, 0, 0.0, 0.0, 0.0)

    def end(self, peak_mb: float | None) -> None:
        """Call this at the end of a request. `peak_mb` is what it took; None where that is not known."""
        if self._mine is None:
            return
        worker, wanted = self._mine
        self._mine = None
        if peak_mb is not None:
            self._kinds.note(wanted, peak_mb)
        self.clear(worker)

    def admitted(
        self,
        application: Application,
        worker: Callable[[], int],
        large: Container[int],
        longest_s: float,
        gone: Callable[[], bool],
    ) -> Application:
        """Wrap the application so that the workers whose numbers are in `large` reserve memory for their requests."""

        def admitting(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            number = worker()
            if number not in large:
                return application(environ, start_response)
            left_s = longest_s - waited_s(environ, time.time())
            if self.reserve(number, kind(environ), left_s, gone):
                return application(environ, start_response)
            return answer_busy(environ, start_response)

        return admitting
