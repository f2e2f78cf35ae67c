"""Tracing memory costs no more in a long function than in a short one, where Python can index lines."""

import sys
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from lowtide.tools.diagnose import measure
from tests.machine import processor_seconds


def allocating(lines: int) -> Callable[[], object]:
    """A function that allocates in its last line, after so many others."""
    names: dict[str, Callable[[], object]] = {}
    body = "    number = 1\n" * lines + "    return [[] for _ in range(20_000)]\n"
    exec(f"def allocate():\n{body}", names)  # noqa: S102 - nothing of it is from elsewhere
    return names["allocate"]


@pytest.fixture(autouse=True)
def traced() -> Iterator[None]:
    tracemalloc.start(measure.FRAMES)
    yield
    tracemalloc.stop()


def test_the_length_of_a_function_costs_nothing() -> None:
    short, long = allocating(50), allocating(1000)
    before = sys.gettrace()
    measure._index_lines(True)
    if sys.version_info >= (3, 12):
        assert sys.gettrace() is before, "later versions have no index, so nothing is traced"
        return
    short()
    long()
    measure._index_lines(False)
    assert processor_seconds(long) < 3 * processor_seconds(short)


def test_a_trace_function_that_was_there_stays() -> None:
    def own(*_: object) -> None: ...

    before = sys.gettrace()
    sys.settrace(own)
    try:
        measure._index_lines(True)
        measure._index_lines(False)
        assert sys.gettrace() is own
    finally:
        sys.settrace(before)
    measure._index_lines(True)
    measure._index_lines(False)
    assert sys.gettrace() is before
