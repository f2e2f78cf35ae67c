"""A bound that the kernel holds: when it is over, this process is killed, whatever hangs: Python, C code or a lock."""

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
    """struct itimerspec: how often again, and when first, both seconds and nanoseconds."""

    _fields_ = (
        ("again", ctypes.c_long * 2),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class Deadline:
    """A timer of this process, not of those that it forks.

    It sends SIGKILL, which no handler of the application can take, as it could SIGALRM.

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
        """Kill this process in so many seconds; 0 takes the bound away."""
        whole, part = divmod(seconds, 1)
        spec = _Spec(seconds=int(whole), nanoseconds=int(part * 1e9))
        self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None)
