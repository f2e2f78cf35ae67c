"""Makes what is loaded before the fork immortal, so that workers do not copy it by using it.

Python keeps the number of references to an object in the object itself. So a worker that only uses a function, a class
or a text writes to its memory, and gets a copy of the page that it shared with the master. Since Python 3.12 an object
can be immortal (PEP 683), as None is: its number of references is a fixed value, which nobody writes to any more.

An immortal object is never freed, and what it still refers to is not either. That takes no memory: the master keeps the
object as long as there are workers, and freeing it would only copy its page. Two kinds stay as they are:
- objects with a finaliser, such as files and sockets, because some programs rely on their end;
- tuples that begin with None or are not filled yet, because Python lets C code fill only a tuple that is referred to
  once, and uWSGI fills one of (None, start_response) for each request (plugins/python/wsgi_subhandler.c).
"""

import ctypes
import gc
import sys
import sysconfig
from types import CodeType

# Mortal objects have fewer references, immortal ones more: 2^32 - 1 in Python 3.12 and 3.13, 3 x 2^30 in 3.14
# (Include/refcount.h, _Py_IMMORTAL_INITIAL_REFCNT).
_IMMORTAL_FROM = 2**31


def can_be() -> bool:
    """Whether this Python has immortal objects, and counts references where `immortalize` expects it.

    That is where 64 bits begin with the lower half of the number, in one process without free threading or a debug
    build, whose objects have other fields.
    """
    plain = not (sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "getobjects"))
    usual = sys.implementation.name == "cpython" and sys.byteorder == "little" and sys.maxsize > 2**32
    return plain and usual and sys.getrefcount(None) >= _IMMORTAL_FROM


def immortalize() -> int:
    """Make every object immortal that exists now, finalisers excepted; how many that are. Call it before the fork.

    Where `can_be` says no, nothing happens, and 0 is returned.
    """
    if not can_be():
        return 0
    fixed = sys.getrefcount(None).to_bytes(4, "little")
    count = 0
    # The garbage collector knows of the objects that refer to others. What it does not track, such as texts, is found
    # by what refers to it.
    tracked = gc.get_objects()
    pending: list[object] = []
    finalised: dict[int, bool] = {}
    while tracked:
        pending.append(tracked.pop())
        while pending:
            item = pending.pop()
            if item is tracked or item is pending:
                continue
            parts = [*gc.get_referents(item), *_of_code(item)]
            kind = type(item)
            if id(kind) not in finalised:
                finalised[id(kind)] = any("__del__" in vars(base) for base in kind.__mro__)
            if sys.getrefcount(item) < _IMMORTAL_FROM and not finalised[id(kind)] and not _open(item, parts):
                ctypes.memmove(id(item), fixed, len(fixed))
                count += 1
            pending += [part for part in parts if sys.getrefcount(part) < _IMMORTAL_FROM and not gc.is_tracked(part)]
    return count


def _open(item: object, parts: list[object]) -> bool:
    """Whether this is a tuple that C code may still fill."""
    return type(item) is tuple and (len(parts) < len(item) or (bool(parts) and parts[0] is None))


def _of_code(item: object) -> tuple[object, ...]:
    """What code refers to; the garbage collector does not ask it."""
    # Not isinstance, which would ask a lazy object for its class and so evaluate it.
    if type(item) is not CodeType:
        return ()
    names = item.co_names, item.co_name, item.co_qualname, item.co_filename
    return (item.co_consts, *names, item.co_linetable, item.co_exceptiontable)
