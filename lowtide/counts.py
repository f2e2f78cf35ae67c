"""Counters of all workers in one file, RUN_DIR/counts, which lowtide.metrics reads.

Each worker adds to its own row, without a lock, and its successor continues there; a reader adds the rows up. An entry
may be lost when two threads of a worker add at the same time. A row also has the reason for the latest replacement of
its worker.
"""

import struct
from pathlib import Path

from lowtide import memory
from lowtide.recycles import REASONS

GIVE_BACKS, GIVEN_BACK_BYTES = "give_backs", "given_back_bytes"
NAMES = (GIVE_BACKS, GIVEN_BACK_BYTES, *REASONS)
_HEAD = struct.Struct("=8sq")
_MAGIC = b"counts-2"
_COUNTER = struct.Struct("=q")
# The counters, and the place of the latest reason in NAMES; 0, which is none of a reason, for a worker never replaced.
_ROW = struct.Struct(f"={len(NAMES) + 1}q")


class Counts:
    """The rows of all workers (numbered from 1), made before they fork."""

    def __init__(self, workers: int, file: Path) -> None:
        self._rows = memory.shared(_HEAD.size + workers * _ROW.size, file)
        memory.put(self._rows, 0, _HEAD, _MAGIC, workers)

    def add(self, worker: int, name: str, amount: int = 1) -> None:
        start = _HEAD.size + (worker - 1) * _ROW.size
        at = start + NAMES.index(name) * _COUNTER.size
        memory.put(self._rows, at, _COUNTER, _COUNTER.unpack_from(self._rows, at)[0] + amount)
        if name in REASONS:
            memory.put(self._rows, start + len(NAMES) * _COUNTER.size, _COUNTER, NAMES.index(name))


def _rows(file: Path) -> list[tuple[int, ...]]:
    """The row of each worker.

    Raises:
        OSError: there is no such file.
        ValueError: it has another form.
    """
    data = file.read_bytes()
    if len(data) < _HEAD.size or not data.startswith(_MAGIC):
        raise ValueError(f"{file} does not hold the counters of this version")
    _, workers = _HEAD.unpack_from(data)
    return [_ROW.unpack_from(data, _HEAD.size + worker * _ROW.size) for worker in range(workers)]


def read(file: Path) -> dict[str, int]:
    """The sum over all workers of each counter; raises as `_rows` does."""
    *sums, _ = map(sum, zip(*_rows(file), strict=True))
    return dict(zip(NAMES, sums, strict=True))


def last_reasons(file: Path) -> list[str]:
    """Why each worker was replaced the last time, from worker 1 on, or ""; raises as `_rows` does."""
    return [NAMES[row[-1]] if row[-1] else "" for row in _rows(file)]
