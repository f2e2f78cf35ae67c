"""Fills the holes that loading has left in memory, before the fork.

Between the objects that stay there are free places. A worker would put its own objects there, and the first one on each
page costs it a copy of that page, which it shared with the master. When the places are taken, a worker puts its objects
side by side on new pages, which are fewer. What takes the places is never used, and needs no memory of its own, because
its pages are in memory already.
"""

import ctypes
import sys
from collections.abc import Callable
from itertools import pairwise

from lowtide.give_back import Unavailable, malloc_trim

# Python takes objects of up to 512 bytes from pools, which hold one size each, a multiple of 16 (Objects/obmalloc.c).
_SIZES = range(16, 513, 16)
_POOL_BYTES = 16 * 1024 - 48
# More free places of one size mean that another allocator stands in for Python's, which has no pools.
_AT_MOST_BYTES = 2 * 1024 * 1024
# The largest free chunk of malloc that is looked for, and the smallest that there is.
_LARGEST, _SMALLEST = 64 * 1024, 24


class Mallinfo2(ctypes.Structure):
    """struct mallinfo2, mallinfo(3): ten numbers of bytes."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def fill() -> list[object]:
    """Fill the holes of Python's allocator and of glibc's malloc.

    Returns:
        What fills Python's, to be kept for as long as there are workers. What fills malloc's is never freed.
    """
    fill_malloc()
    taken: list[object] = []
    for size in _SIZES:
        fillers = _fillers(size)
        if len(fillers) * size >= _AT_MOST_BYTES:
            return []
        taken += fillers
    return taken


def _maker(size: int) -> Callable[[], object]:
    """What makes a new object of `size` bytes."""
    if size == sys.getsizeof(object()):
        return object
    if size == sys.getsizeof(1j):
        return lambda: complex(1, 1)
    return lambda: bytes(size - sys.getsizeof(b""))


def _fillers(size: int) -> list[object]:
    """New objects of `size` bytes, until the places are those of new pools, which are given out in their order."""
    make, places = _maker(size), _POOL_BYTES // size
    fillers: list[object] = []
    while len(fillers) * size < _AT_MOST_BYTES:
        pool = [make() for _ in range(places)]
        # Not all of them, because this loop makes and frees objects too.
        if sum(id(after) - id(before) == size for before, after in pairwise(pool)) > 0.9 * places - 2:
            break
        fillers += pool
    return fillers


def fill_malloc() -> int:
    """Take all free chunks of glibc's malloc but the last, from which the heap grows; how many bytes that were.

    With another allocator nothing happens, nor before glibc 2.33, which does not say where the last chunk begins.
    """
    process = ctypes.CDLL(None)
    try:
        malloc_trim()
        malloc, free, sbrk, mallinfo2 = process.malloc, process.free, process.sbrk, process.mallinfo2
    except (Unavailable, AttributeError):
        return 0
    malloc.restype = sbrk.restype = ctypes.c_void_p
    malloc.argtypes, free.argtypes, sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_ssize_t]
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    last = sbrk(0) - info.keepcost
    taken, size = 0, _LARGEST
    while size >= _SMALLEST and taken < info.fordblks:
        chunk = malloc(size)
        if chunk and chunk < last:
            taken += size
        else:
            free(chunk)
            size -= max(16, size // 8)
    return taken
