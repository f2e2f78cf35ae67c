"""What a forked process puts into memory goes side by side onto new pages, once the holes are filled."""

import json
import subprocess
import sys

import pytest

# Prints how much of its memory a child has of its own, KiB, after it has made objects: first beside the holes, then
# with the holes filled.
SCRIPT = """
import ctypes, gc, json, os, sys
from lowtide import holes, memory

process = ctypes.CDLL(None)
process.malloc.restype, process.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
process.free.argtypes = [ctypes.c_void_p]
make = {"small": lambda: bytes(100), "malloc": lambda: process.malloc(700)}[sys.argv[1]]
loaded = [make() for _ in range(100_000)]
# One in a hundred is freed.
for number in range(0, len(loaded), 100):
    if sys.argv[1] == "malloc":
        process.free(loaded[number])
    loaded[number] = None
gc.collect()
gc.freeze()


def own_kb():
    reading, writing = os.pipe()
    if child := os.fork():
        os.waitpid(child, 0)
        return int(os.read(reading, 99))
    before = memory.fields_mb("self", "smaps_rollup", "Private_Dirty")[0]
    made = [make() for _ in range(1000)]
    os.write(writing, b"%d" % ((memory.fields_mb("self", "smaps_rollup", "Private_Dirty")[0] - before) * 1024))
    os._exit(0)


beside = own_kb()
fillers = holes.fill()
print(json.dumps([beside, own_kb()]))
"""


@pytest.mark.parametrize("allocator", ["small", "malloc"])
def test_a_forked_process_copies_no_pages_to_write_into_them(allocator: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, allocator], capture_output=True, text=True, check=True)
    beside, filled = json.loads(done.stdout)
    assert filled < beside / 3, (beside, filled)


def test_where_python_has_no_pools_nothing_is_filled() -> None:
    script = "from lowtide import holes; print(len(holes.fill()))"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONMALLOC": "malloc"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
