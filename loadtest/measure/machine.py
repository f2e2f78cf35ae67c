"""The machine that everything runs on."""

import os
from pathlib import Path
from typing import Any


def size() -> dict[str, Any]:
    """Its processors and memory, under the names of summary.json."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpus": os.cpu_count(), "memory_mb": pages // 2**20}


def processor() -> str:
    """The name of its processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def available_mb() -> int:
    """Memory that a process can get without swapping, MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) // 1024


def load_average() -> float:
    """How many processes wanted to run over the last minute."""
    return round(os.getloadavg()[0], 2)
