"""Puts the clock forward in this process, so that objects which are kept for a limited time are freed now.

Patching the names in `time` would not affect a module that has imported them (`from time import monotonic`), so the C
functions behind them are exchanged (methodobject.h, descrobject.h). Waiting in the kernel (sleep, a lock's timeout) and
C code that asks the kernel for the time are not affected.
"""

import ctypes
import datetime
import sys
import time
from typing import Any

_HEADER = object.__basicsize__
_POINTER = ctypes.sizeof(ctypes.c_void_p)
# The position of d_method in a descriptor: d_type, d_name and d_qualname come before it.
_DESCRIPTOR = _HEADER + 3 * _POINTER
_KEYWORDS, _NOARGS, _CLASS, _FASTCALL = 0x02, 0x04, 0x10, 0x80
# References to the new functions, which must exist for as long as the process.
_kept: list[Any] = []


class _Definition(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("meth", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_Plain = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p)
_Fast = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.POINTER(ctypes.py_object), ctypes.c_ssize_t, ctypes.c_void_p
)


def put_forward(seconds: int) -> bool:
    """Make `time` and `datetime.now` return a later time; False if this Python is not built as expected."""
    if sys.implementation.name != "cpython":
        return False
    exchanges: list[tuple[Any, str, int, Any]] = []
    for name in ("time", "time_ns", "monotonic", "monotonic_ns"):
        later = seconds * 10**9 if name.endswith("_ns") else seconds
        exchanges.append((_definition(getattr(time, name), _HEADER), name, _NOARGS, later))
    now, utcnow = (datetime.datetime.__dict__[name] for name in ("now", "utcnow"))
    exchanges.append((_definition(now, _DESCRIPTOR), "now", _FASTCALL | _KEYWORDS | _CLASS, seconds))
    exchanges.append(
        (_definition(utcnow, _DESCRIPTOR), "utcnow", _NOARGS | _CLASS, datetime.timedelta(seconds=seconds))
    )
    if any(definition.name != name.encode() or definition.flags != flags for definition, name, flags, _ in exchanges):
        return False
    told = time.time
    for definition, name, _, later in exchanges:
        replacement = _now(told) if name == "now" else _later(definition.meth, later)
        _kept.append(replacement)
        definition.meth = ctypes.cast(replacement, ctypes.c_void_p).value
    return True


def _definition(function: Any, offset: int) -> Any:
    return ctypes.POINTER(_Definition).from_address(id(function) + offset).contents


def _later(address: int, later: Any) -> Any:
    original = _Plain(address)
    return _Plain(lambda owner, nothing: original(owner, nothing) + later)


def _now(told: Any) -> Any:
    def now(owner: int, arguments: Any, count: int, names: int | None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(told(), arguments[0] if count or names else None)

    return _Fast(now)
