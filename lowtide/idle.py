"""Whether a worker that nobody needs is worth replacing, for what it holds more than when it was forked.

Two kinds of memory stay after heap was given back. What is left over are free pieces that small objects hold on to: a
new worker starts without them. What is live is used: a module loaded on first use, a cache. A new worker would load it
again, and its first requests would wait for that. Only time tells a cache from a leak, so live memory is let go once,
and what comes back in the successor is needed from then on, in all workers. No server is named here.
"""

import mmap
import struct

# What is needed by every worker, and for each what was let go, MiB; 0 is nothing.
_MIB = struct.Struct("=d")
# The successor does not come back to exactly the same.
_CAME_BACK = 0.75
# A cache that still fills would otherwise cost a worker for each few MiB.
_MORE = 1.5


class Learned:
    """What workers have learned of each other, in memory that they share: to be made before they fork."""

    def __init__(self, workers: int, threshold_mb: float) -> None:
        self._threshold_mb = threshold_mb
        self._memory = mmap.mmap(-1, _MIB.size * (workers + 1))

    @property
    def needed_mb(self) -> float:
        """Live memory that came back in a successor."""
        return self._read(0)

    def worth_replacing(self, worker: int, kept_mb: float, live_mb: float) -> bool:
        """Whether a new worker in the place of `worker` (from 1) would hold less, and not soon the same again.

        Args:
            kept_mb: what could not be given back since it was forked.
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
        """`worker` leaves with so much live memory: its successor will tell what it was."""
        self._write(worker, live_mb)

    def _read(self, place: int) -> float:
        value: float = _MIB.unpack_from(self._memory, place * _MIB.size)[0]
        return value

    def _write(self, place: int, mb: float) -> None:
        _MIB.pack_into(self._memory, place * _MIB.size, mb)
