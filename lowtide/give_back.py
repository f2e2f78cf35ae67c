"""Gives free heap back to the kernel after a request that made the process grow.

When a process frees a large mapped block, glibc raises its mmap and trim thresholds to up to 64 MiB (mallopt(3),
M_MMAP_THRESHOLD). From then on memory that a large request frees stays in the process; `malloc_trim(0)` returns it
(malloc_trim(3)). Before that the garbage collector runs, because objects in reference cycles, such as model instances,
would otherwise hold their pages until its next run. A small request costs one read of /proc/self/statm.
"""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable

from lowtide import memory
from lowtide.defaults import GIVE_BACK_MB, from_environment_mb

DEFAULT_THRESHOLD_MB = float(GIVE_BACK_MB)
# When at least this part of what a request took cannot be given back, it has left objects that are in use, such as a
# cache. When it left only a few small objects with free heap between them, the part is a few hundredths.
_LIVE_PART = 0.25


def threshold_mb() -> float:
    """GIVE_BACK_MB of the environment, in MiB; 0 means never."""
    return from_environment_mb("GIVE_BACK_MB", "never")


class Unavailable(Exception):
    """This process cannot give memory back; the message says why."""


def malloc_trim() -> Callable[[int], int]:
    """glibc's malloc_trim, if glibc's malloc is the allocator in use.

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
    # malloc_usable_size is compared and not malloc: in a Python that is not position-independent, the address of a
    # function that it calls itself differs from the one in libc.
    in_use, in_libc = (ctypes.cast(library.malloc_usable_size, ctypes.c_void_p).value for library in (process, libc))
    if in_use != in_libc:
        raise Unavailable("another allocator stands in for glibc's malloc: giving back is left to it")
    return trim


class GiveBack:
    """Call it after each request.

    Args:
        threshold_mb: heap is given back when RSS has grown by this many MiB since the last time.
        trim: the function that gives memory back; tests pass their own.

    Where giving back is impossible, it prints the reason once on stderr and does nothing.
    """

    def __init__(self, threshold_mb: float = DEFAULT_THRESHOLD_MB, trim: Callable[[int], int] | None = None) -> None:
        if threshold_mb <= 0:
            raise ValueError(f"threshold_mb={threshold_mb} must be over 0; 8 is a good start")
        self.threshold_mb = threshold_mb
        self._lock = threading.Lock()
        self._left_mb = self._fresh_mb = self._live_mb = 0.0
        # RSS when this object was last called, before anything was given back.
        self.asked_mb = 0.0
        # What went back to the kernel since the caller last set this to 0.
        self.given_mb = 0.0
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
        # RSS can shrink by itself, for example when pages are swapped out; growth then counts from the lower figure.
        self._left_mb = min(self._left_mb, rss_mb)
        if rss_mb < self._left_mb + self.threshold_mb:
            return False
        # malloc_trim locks all arenas, so one thread at a time is enough.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            gc.collect()
            self._trim(0)
            before_mb, self._left_mb = self._left_mb, memory.rss_mb()
            self.given_mb += max(0.0, rss_mb - self._left_mb)
            if self._left_mb - before_mb >= (rss_mb - before_mb) * _LIVE_PART:
                self._live_mb += self._left_mb - before_mb
            self._gave = True
        finally:
            self._lock.release()
        return True

    def due(self) -> bool:
        """Whether there may be something to give back; costs one read of /proc/self/statm."""
        return self._trim is not None and (self._gave or memory.rss_mb() >= self._left_mb + self.threshold_mb)

    def mark(self) -> None:
        """Count growth from what the process holds now: for a worker that was just forked."""
        if self._trim is None:
            return
        self._left_mb = self._fresh_mb = memory.rss_mb()
        self._live_mb = 0.0

    @property
    def kept_mb(self) -> float:
        """What the process has gained since `mark` and could not give back."""
        return max(0.0, self._left_mb - self._fresh_mb)

    @property
    def live_mb(self) -> float:
        """The part of `kept_mb` that is in use; the rest is free heap between small objects that are in use."""
        return min(self._live_mb, self.kept_mb)

    def rest(self) -> None:
        """Give back what the server freed after it closed the response, such as its buffer for the request's body."""
        if self._gave and self._trim:
            self._gave = False
            self._trim(0)
            before_mb, self._left_mb = self._left_mb, memory.rss_mb()
            self.given_mb += max(0.0, before_mb - self._left_mb)
