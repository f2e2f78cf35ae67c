"""Reading memory, compared with memory of a known size that these tests take."""

import mmap
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowtide import memory

SIZE_MB = 64
HOLDER = f"""
import mmap, os, sys
block = mmap.mmap(-1, {SIZE_MB} << 20)
for offset in range(0, len(block), 4096):
    block[offset] = 1
children = []
for _ in range(int(sys.argv[1])):
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    children.append(child)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that holds 64 MiB, and as many forks of it as the parameter says."""
    command = [sys.executable, "-c", HOLDER, str(request.param)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())


@pytest.mark.parametrize("holder", [0], indirect=True)
def test_pss_sees_what_a_process_holds(holder: int) -> None:
    assert SIZE_MB <= memory.pss_mb(holder) < SIZE_MB + 30


@pytest.mark.parametrize("holder", [3], indirect=True)
def test_shared_pages_count_once_over_a_tree(holder: int) -> None:
    assert len(memory.tree(holder)) == 4
    assert SIZE_MB <= memory.tree_pss_mb(holder) < SIZE_MB + 60


def test_a_process_that_has_ended_holds_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert memory.tree(process.pid) == []
    assert memory.pss_mb(process.pid) == 0


def test_rss_grows_by_what_is_touched() -> None:
    before = memory.rss_mb()
    block = mmap.mmap(-1, SIZE_MB << 20)
    for offset in range(0, len(block), 4096):
        block[offset] = 1
    assert memory.rss_mb() - before == pytest.approx(SIZE_MB, abs=2)
    block.close()


def test_own_tree_starts_with_the_process_itself() -> None:
    assert memory.tree(os.getpid())[0] == os.getpid()


def test_a_reader_never_sees_what_is_written_at_zero() -> None:
    form = struct.Struct("=qd")
    block = memory.shared(form.size)
    memory.put(block, 0, form, 1, 1.0)
    writer = os.fork()
    if not writer:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            memory.put(block, 0, form, 1, 1.0)
        os._exit(0)
    seen = {form.unpack_from(block) for _ in range(3_000_000)}
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    assert seen == {(1, 1.0)}


def test_all_modules_write_to_shared_memory_that_way() -> None:
    modules = {path.name: path.read_text() for path in Path(memory.__file__).parent.glob("*.py")}
    assert [name for name, text in modules.items() if ".pack_into(" in text] == []
    assert [name for name, text in modules.items() if "mmap.mmap(-1" in text] == ["ledger.py", "memory.py"]
