"""Reads how much memory this process has from the kernel, and what Python's two allocators say about it."""

import ctypes
import os
import re
import sys
import tempfile
from pathlib import Path

from lowtide import memory
from lowtide.holes import Mallinfo2
from lowtide.memory import MIB

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ARENAS = re.compile(r"^(\d+) arenas \* (\d+) bytes/arena", re.MULTILINE)
_CLASS = re.compile(r"^ +\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)
_UNUSED_POOLS = re.compile(r"^(\d+) unused pools \* (\d+) bytes", re.MULTILINE)
_BYTES_OVERHEAD = sys.getsizeof(b"")
_BLOCKS = re.compile(r"^# bytes in allocated blocks\s+=\s+([\d,]+)", re.MULTILINE)


def anonymous_mb() -> float:
    """Resident memory of this process that no file backs, in MiB: RSS less shared pages, proc(5), statm."""
    _, resident, shared = Path("/proc/self/statm").read_text().split()[:3]
    return (int(resident) - int(shared)) * _PAGE / MIB


def loaded_mb() -> float:
    """The part of `anonymous_mb` in mapped files, that is, in pages of libraries that the loader changed: smaps."""
    total, in_file = 0, False
    with Path("/proc/self/smaps").open(encoding="utf-8", errors="replace") as smaps:
        for line in smaps:
            words = line.split()
            if not words[0].endswith(":"):
                in_file = len(words) > 5 and words[5].startswith("/")
            elif in_file and words[0] == "Anonymous:":
                total += int(words[1])
    return total / 1024


def peak_mb() -> float:
    """The highest RSS of this process so far, in MiB (VmHWM, proc(5))."""
    figures = memory.fields_mb("self", "status", "VmHWM")
    return figures[0] if figures else 0.0


def malloc_in_use() -> int | None:
    """Bytes that glibc's malloc has handed out and not got back; None without mallinfo2 (before glibc 2.33, musl)."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    mallinfo2.restype = Mallinfo2
    info = mallinfo2()
    return int(info.uordblks) + int(info.hblkhd)


def pymalloc_mb() -> tuple[float, float] | None:
    """MiB of Python's own small-object arenas, and MiB of them in use; None where Python runs without pymalloc."""
    text = _debug_statistics()
    arenas, blocks = _ARENAS.search(text), _BLOCKS.search(text)
    if not arenas or not blocks:
        return None
    return int(arenas[1]) * int(arenas[2]) / MIB, int(blocks[1].replace(",", "")) / MIB


def fill_arenas() -> list[bytes]:
    """Objects that use up the free places in Python's arenas; what is allocated while they live needs new memory."""
    text = _debug_statistics()
    places = {int(size): int(free) for size, free in _CLASS.findall(text) if int(size) > _BYTES_OVERHEAD}
    if unused := _UNUSED_POOLS.search(text):
        largest = max(places, default=512)
        places[largest] = places.get(largest, 0) + int(unused[1]) * (int(unused[2]) // largest)
    return [bytes(size - _BYTES_OVERHEAD) for size, free in places.items() for _ in range(free)]


def _debug_statistics() -> str:
    """What CPython says of its allocator. It prints that to the C library's stderr only, so that is read."""
    with tempfile.TemporaryFile("w+") as file:
        sys.stderr.flush()
        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            sys._debugmallocstats()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        return file.read()
