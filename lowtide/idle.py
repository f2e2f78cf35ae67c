"""Decides whether an idle worker should be replaced because of the memory that it has gained since it was forked.

Two kinds of memory stay after heap was given back. Some is free heap between small objects that are in use; a new
worker starts without it. The rest is live, that is, in use: a module that was loaded on first use, or a cache. A new
worker would load it again, and its first requests would wait for that. A cache and a leak look the same at first. So a
worker with live memory is replaced once, and if its successor grows as much again, that amount counts as needed from
then on, in all workers. This module does not depend on a particular server.
"""

import struct

from lowtide import memory

# A figure in MiB. The first is live memory that every worker needs; then, for each worker, the live memory that its
# predecessor gave up when it was replaced. 0 is nothing.
_MIB = struct.Struct("=d")
# The successor's live memory counts as the same when it reaches this part, because it is never exactly the same.
_CAME_BACK = 0.75
# A worker is replaced again only when its live memory has grown by this factor; otherwise a cache that is still being
# filled would cost a worker every few MiB.
_MORE = 1.5


class Learned:
    """What workers have learned from their predecessors, in memory that they share. Make it before the fork."""

    def __init__(self, workers: int, threshold_mb: float) -> None:
        self._threshold_mb = threshold_mb
        self._memory = memory.shared(_MIB.size * (workers + 1))

    @property
    def needed_mb(self) -> float:
        """Live memory that a successor needed again."""
        return self._read(0)

    def worth_replacing(self, worker: int, kept_mb: float, live_mb: float) -> bool:
        """Whether a new worker in place of `worker` (from 1) would hold less, and would not soon grow as much again.

        Args:
            kept_mb: memory that the worker has gained since the fork and could not give back.
            live_mb: the part of it that is in use.
        """
        let_go_mb = self._read(worker)
        if let_go_mb and live_mb >= _CAME_BACK * let_go_mb:
            self._write(0, max(self.needed_mb, live_mb))
            self._write(worker, 0.0)
        if kept_mb - live_mb >= self._threshold_mb:
            return True
        return live_mb >= max(self.needed_mb + self._threshold_mb, self.needed_mb * _MORE)

    def let_go(self, worker: int, live_mb: float) -> None:
        """Note that `worker` ends with so much live memory, so that its successor can tell whether it was needed."""
        self._write(worker, live_mb)

    def _read(self, place: int) -> float:
        value: float = _MIB.unpack_from(self._memory, place * _MIB.size)[0]
        return value

    def _write(self, place: int, mb: float) -> None:
        memory.put(self._memory, place * _MIB.size, _MIB, mb)
