"""Counters of all workers in one file, RUN_DIR/counts, which lowtide.metrics reads.

Each worker adds to its own row, without a lock, and its successor continues there; a reader adds the rows up. An entry
may be lost when two threads of a worker add at the same time.
"""

import mmap
import struct
from pathlib import Path

from lowtide.recycles import REASONS

GIVE_BACKS, GIVEN_BACK_BYTES = "give_backs", "given_back_bytes"
NAMES = (GIVE_BACKS, GIVEN_BACK_BYTES, *REASONS)
_HEAD = struct.Struct("=8sq")
_MAGIC = b"counts-1"
_COUNTER = struct.Struct("=q")
_ROW = struct.Struct(f"={len(NAMES)}q")


class Counts:
    """The rows of all workers (numbered from 1), made before they fork."""

    def __init__(self, workers: int, file: Path) -> None:
        # A process that still reads the previous server's file keeps it.
        file.unlink(missing_ok=True)
        with file.open("xb+") as rows:
            rows.truncate(_HEAD.size + workers * _ROW.size)
            self._rows = mmap.mmap(rows.fileno(), 0)
        _HEAD.pack_into(self._rows, 0, _MAGIC, workers)

    def add(self, worker: int, name: str, amount: int = 1) -> None:
        at = _HEAD.size + (worker - 1) * _ROW.size + NAMES.index(name) * _COUNTER.size
        _COUNTER.pack_into(self._rows, at, _COUNTER.unpack_from(self._rows, at)[0] + amount)


def read(file: Path) -> dict[str, int]:
    """The sum over all workers of each counter.

    Raises:
        OSError: there is no such file.
        ValueError: it has another form.
    """
    data = file.read_bytes()
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise ValueError(f"{file} does not hold the counters of this version")
    _, workers = _HEAD.unpack_from(data)
    rows = [_ROW.unpack_from(data, _HEAD.size + worker * _ROW.size) for worker in range(workers)]
    return dict(zip(NAMES, map(sum, zip(*rows, strict=True)), strict=True))
