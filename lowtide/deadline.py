"""A time limit that the kernel enforces: it kills this process even when Python, C code or a lock hangs."""

import ctypes
import os
import signal
import time

_SIGEV_SIGNAL = 0


class _Event(ctypes.Structure):
    """struct sigevent (timer_create(2)), 64 bytes."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signal", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 48),
    )


class _Spec(ctypes.Structure):
    """struct itimerspec: the interval of repetition, then the time to the first expiry, in seconds and nanoseconds."""

    _fields_ = (
        ("again", ctypes.c_long * 2),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class Deadline:
    """A timer of this process; processes that it forks do not inherit it.

    It sends SIGKILL, because the application could handle SIGALRM itself.

    Raises:
        OSError: the kernel has no such timer.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _Event(signal=signal.SIGKILL, notify=_SIGEV_SIGNAL)
        try:
            made = self._libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))
        except AttributeError:
            raise OSError("this libc has no timer_create") from None
        if made:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def set(self, seconds: float) -> None:
        """Kill this process in `seconds` seconds; 0 removes the limit."""
        whole, part = divmod(seconds, 1)
        spec = _Spec(seconds=int(whole), nanoseconds=int(part * 1e9))
        self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None)
