"""The sampler: one line of CSV for each look at a running server, until its standard input closes.

    python -m lowtide.sample --stats RUN_DIR/stats.sock --interval 0.5 [--cgroup]
    python -m lowtide.sample --pid PID

Columns: time (Unix seconds), pss_mb (sum of PSS over master and workers, MiB), working_set_mb and oom_kills (of this
container, with --cgroup; else empty), requests (uWSGI's counter, which survives respawns), workers (alive). With --pid,
for any other server, the last two are empty and PSS is that of the process and its descendants.
Not uWSGI's own rss: it is written at the end of a request only and is 0 after a respawn.
"""

import argparse
import json
import random
import select
import socket
import sys
import time
from typing import Any

from lowtide import memory

COLUMNS = ("time", "pss_mb", "working_set_mb", "oom_kills", "requests", "workers")


def stats(path: str) -> dict[str, Any]:
    """uWSGI's statistics from its stats socket.

    Raises:
        OSError: nobody answers there.
        ValueError: the answer is cut short, as it is when the server stops.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        chunks = iter(lambda: connection.recv(65536), b"")
        answer: dict[str, Any] = json.loads(b"".join(chunks))
        return answer


def sample(path: str | None, pid: int | None, cgroup: bool) -> str:
    """One line for the uWSGI behind the stats socket `path`, or for the process tree of `pid`."""
    requests: int | str = ""
    alive: int | str = ""
    if path:
        figures = stats(path)
        pid, workers = figures["pid"], figures["workers"]
        requests = sum(worker["requests"] for worker in workers)
        alive = sum(worker["pid"] > 0 and worker["status"] != "cheap" for worker in workers)
    pss = memory.tree_pss_mb(pid) if pid else 0
    if not pss:
        raise ProcessLookupError(f"there is no process {pid}")
    working_set = f"{memory.working_set_mb() or 0:.1f}" if cgroup else ""
    killed = f"{memory.oom_kills() or 0}" if cgroup else ""
    return f"{time.time():.3f},{pss:.1f},{working_set},{killed},{requests},{alive}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lowtide.sample", description=__doc__.split("\n", 1)[0])
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--stats", help="uWSGI's stats socket")
    server.add_argument("--pid", type=int, help="the first process of another server")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two samples, on average")
    parser.add_argument("--cgroup", action="store_true", help="read this container's cgroup too")
    options = parser.parse_args()
    print(",".join(COLUMNS), flush=True)
    due = time.monotonic()
    while True:
        try:
            print(sample(options.stats, options.pid, options.cgroup), flush=True)
        except (OSError, ValueError) as error:
            print(f"No sample: {options.stats or options.pid}: {error}", file=sys.stderr, flush=True)
        # Unevenly, or a load with a steady beat would be seen at the same point of it again and again.
        due = max(due + options.interval * random.uniform(0.5, 1.5), time.monotonic())  # noqa: S311
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            return 0


if __name__ == "__main__":
    raise SystemExit(main())
