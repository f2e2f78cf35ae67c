"""Giving free heap pages back to the kernel after a request that made the process grow.

Freeing one large mapped block raises glibc's mmap and trim thresholds to twice its size, up to 64 MiB (mallopt(3),
M_MMAP_THRESHOLD), so what a large request frees stays in the process; `malloc_trim(0)` returns it (malloc_trim(3)).
What the request left in reference cycles, such as model instances, is collected first: it would hold its pages until
the collector comes by. Small requests pay for one read of /proc/self/statm and nothing else.
"""

import ctypes
import gc
import math
import os
import sys
import threading
from collections.abc import Callable

from lowtide import memory
from lowtide.defaults import GIVE_BACK_MB

DEFAULT_THRESHOLD_MB = float(GIVE_BACK_MB)
# A request that leaves this part of what it took, or more, has left something in use. Small objects that outlive a
# large request, and hold on to the free heap around them, keep a few hundredths.
_LIVE_PART = 0.25


def threshold_mb() -> float:
    """GIVE_BACK_MB of the environment, in MiB; 0 means never.

    Raises:
        ValueError: it is no number of at least 0.
    """
    value = os.environ.get("GIVE_BACK_MB") or str(DEFAULT_THRESHOLD_MB)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"GIVE_BACK_MB={value} cannot be used: write a number of MiB, or 0 for never.")
    return number


class Unavailable(Exception):
    """This process cannot give memory back; the message says why."""


def malloc_trim() -> Callable[[int], int]:
    """glibc's malloc_trim, where it is also the allocator in use.

    Raises:
        Unavailable: not Linux, no /proc, a libc without malloc_trim (musl), or another allocator is preloaded.
    """
    if sys.platform != "linux":
        raise Unavailable(f"memory is given back on Linux only, this is {sys.platform}")
    if not os.access("/proc/self/statm", os.R_OK):
        raise Unavailable("there is no /proc, so a process does not see how large it is: nothing is given back")
    process = ctypes.CDLL(None)
    try:
        libc = ctypes.CDLL("libc.so.6")
        trim: Callable[[int], int] = libc.malloc_trim
    except (OSError, AttributeError):
        raise Unavailable("this libc has no malloc_trim (musl, for example): nothing is given back") from None
    # Not malloc itself: a Python that is not position-independent has an address of its own for what it calls.
    mine, theirs = (ctypes.cast(library.malloc_usable_size, ctypes.c_void_p).value for library in (process, libc))
    if mine != theirs:
        raise Unavailable("another allocator stands in for glibc's malloc: giving back is left to it")
    return trim


class GiveBack:
    """Call it after each request.

    Args:
        threshold_mb: how far RSS may grow (MiB) over what was left the last time before heap is given back.
        trim: for tests; the function that gives back.

    Where giving back is impossible it says so once, on stderr, and does nothing.
    """

    def __init__(self, threshold_mb: float = DEFAULT_THRESHOLD_MB, trim: Callable[[int], int] | None = None) -> None:
        if threshold_mb <= 0:
            raise ValueError(f"threshold_mb={threshold_mb} must be over 0; 8 is a good start")
        self.threshold_mb = threshold_mb
        self._lock = threading.Lock()
        self._left_mb = self._fresh_mb = self._live_mb = 0.0
        # What the process held when it was last asked to give back.
        self.asked_mb = 0.0
        self._gave = False
        self._trim = trim
        if trim is None:
            try:
                self._trim = malloc_trim()
            except Unavailable as reason:
                print(f"lowtide: {reason}", file=sys.stderr, flush=True)
        self.mark()

    def __call__(self) -> bool:
        """Give back if the process has grown; returns whether it did."""
        if self._trim is None:
            return False
        rss_mb = self.asked_mb = memory.rss_mb()
        # A process whose pages went elsewhere has that much more to grow.
        self._left_mb = min(self._left_mb, rss_mb)
        if rss_mb < self._left_mb + self.threshold_mb:
            return False
        # Threads: malloc_trim locks each arena, and one of them is enough.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            gc.collect()
            self._trim(0)
            before_mb, self._left_mb = self._left_mb, memory.rss_mb()
            if self._left_mb - before_mb >= (rss_mb - before_mb) * _LIVE_PART:
                self._live_mb += self._left_mb - before_mb
            self._gave = True
        finally:
            self._lock.release()
        return True

    def mark(self) -> None:
        """Take what the process holds now as what it needs: for a worker that was just forked."""
        if self._trim is None:
            return
        self._left_mb = self._fresh_mb = memory.rss_mb()
        self._live_mb = 0.0

    @property
    def kept_mb(self) -> float:
        """What came since `mark` and could not be given back."""
        return max(0.0, self._left_mb - self._fresh_mb)

    @property
    def live_mb(self) -> float:
        """The part of `kept_mb` that is in use; the rest is free heap that small objects hold on to."""
        return min(self._live_mb, self.kept_mb)

    def rest(self) -> None:
        """Give back what the server freed after the response was closed, such as its buffer of the request's body."""
        if self._gave and self._trim:
            self._gave = False
            self._trim(0)
            self._left_mb = memory.rss_mb()
