"""Reads memory figures from Linux: PSS of process trees, RSS of a process, working set and OOM kills of the container.

Everything is read from /proc and /sys/fs/cgroup, in MiB. Summed RSS counts a page that four workers share four
times; PSS (proportional set size, proc(5), smaps_rollup) divides it by the number of its users, so it can be summed.
"""

import mmap
import os
import re
import struct
from contextlib import suppress
from pathlib import Path

MIB = 1024 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_CGROUP = Path("/sys/fs/cgroup")
# Where this process reads about others: lowtide.neighbour puts the /proc of another container here.
proc = "/proc"


def rss_mb(pid: int | str = "self") -> float:
    """RSS of a process in MiB, from /proc/PID/statm. It takes microseconds even for a large process."""
    with open(f"{proc}/{pid}/statm", "rb") as statm:  # noqa: PTH123 - on the path of every request
        return int(statm.read().split()[1]) * _PAGE / MIB


def pss_mb(pid: int) -> float:
    """PSS of one process in MiB; 0 when it has ended.

    The kernel walks the page tables, which takes milliseconds for a process of hundreds of MiB.

    Raises:
        PermissionError: the process belongs to another user, or changed its uid after it started.
    """
    try:
        rollup = Path(f"{proc}/{pid}/smaps_rollup").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    match = _PSS.search(rollup)
    return int(match[1]) / 1024 if match else 0.0


def shared(size: int, file: Path | None = None) -> mmap.mmap:
    """Memory of `size` zeros that this process shares with its children, and with readers of `file` if one is named."""
    if file is None:
        return mmap.mmap(-1, size)
    # A process that still reads the previous server's file keeps it.
    file.unlink(missing_ok=True)
    with file.open("xb+") as opened:
        opened.truncate(size)
        return mmap.mmap(opened.fileno(), size)


def put(memory: mmap.mmap, at: int, form: struct.Struct, *values: object) -> None:
    """Write values from offset `at` on into memory that other processes read without a lock.

    struct.pack_into would set all bytes to 0 first, and for a moment a reader would see a counter at 0.
    """
    memory[at : at + form.size] = form.pack(*values)


def fields_mb(pid: int | str, file: str, *names: str) -> list[float] | None:
    """Figures in MiB from /proc/PID/`file`, which has lines `name: N kB`; None when the process has ended."""
    try:
        lines = dict(
            line.split(":", 1) for line in Path(f"{proc}/{pid}/{file}").read_text().splitlines() if ":" in line
        )
        return [int(lines[name].split()[0]) / 1024 for name in names]
    except (FileNotFoundError, ProcessLookupError, KeyError):
        return None


def children(pid: int) -> list[int] | None:
    """The direct children of a process, the workers of a pre-forking server; None when it has ended."""
    try:
        threads = list(Path(f"{proc}/{pid}/task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return None
    pids: list[int] = []
    for thread in threads:
        # The thread may end meanwhile.
        with suppress(FileNotFoundError, ProcessLookupError):
            pids += map(int, (thread / "children").read_text().split())
    return pids


def started_ticks(pid: int, below: str | None = None) -> int | None:
    """When a process was started, in ticks since the machine's start (proc(5): starttime); None when it has ended."""
    try:
        return int(Path(f"{below or proc}/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return None


def tree(pid: int) -> list[int]:
    """The process and all its descendants, parents first; empty when it has ended."""
    pids, queue = [], [pid]
    while queue:
        parent = queue.pop(0)
        if (born := children(parent)) is not None:
            pids.append(parent)
            queue += born
    return pids


def tree_pss_mb(pid: int) -> float:
    """Sum of PSS over a process tree in MiB."""
    return sum(map(pss_mb, tree(pid)))


def _keyed(path: Path, key: str) -> int:
    """The number behind `key` in a file of `key number` lines; 0 when it is not there."""
    match = re.search(rf"^{key} (\d+)$", path.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def cgroup_of(pid: int) -> Path:
    """The cgroup files that a process sees: those of its container, which may be another than this process's."""
    return Path(f"{proc}/{pid}/root/sys/fs/cgroup")


def working_set_mb(cgroup: Path = _CGROUP) -> float | None:
    """The memory of this container that the kernel cannot simply drop, in MiB; None outside a memory cgroup.

    It is usage less inactive file pages, as Kubernetes and `docker stats` count it. cgroup v2 and v1 have different
    files, and a hybrid host mounts both, so this looks for the files.
    """
    for current, statistics, key in (
        (cgroup / "memory.current", cgroup / "memory.stat", "inactive_file"),
        (cgroup / "memory/memory.usage_in_bytes", cgroup / "memory/memory.stat", "total_inactive_file"),
    ):
        if current.exists():
            return max(0, int(current.read_text()) - _keyed(statistics, key)) / MIB
    return None


def oom_kills(cgroup: Path = _CGROUP) -> int | None:
    """How many processes of this container the kernel has killed for memory; None outside a memory cgroup."""
    for path in (cgroup / "memory.events", cgroup / "memory/memory.oom_control"):
        if path.exists():
            return _keyed(path, "oom_kill")
    return None


def limit_mb(cgroup: Path = _CGROUP) -> float | None:
    """The container's hard memory limit in MiB; None where there is none."""
    for path in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        if path.exists():
            text = path.read_text().strip()
            # cgroup v1 writes "no limit" as the largest multiple of a page.
            return None if text == "max" or int(text) >= 2**62 else int(text) / MIB
    return None
