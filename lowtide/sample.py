"""The sampler: measures a running server again and again, one line of CSV each time, until its standard input closes.

    python -m lowtide.sample --stats RUN_DIR/stats.sock --interval 0.5 [--cgroup]
    python -m lowtide.sample --pid PID
    python -m lowtide.sample --stats RUN_DIR/stats.sock --once

Columns: time (Unix seconds), pss_mb (sum of PSS over master and workers, MiB), working_set_mb and oom_kills (of this
container, with --cgroup; otherwise empty), requests (uWSGI's counter, which includes replaced workers), workers
(alive). With --pid, for any other server, the last two are empty and PSS is that of the process and its descendants.
--once prints one JSON object instead and ends: `pss_mb`, and the `pid` and `rss_mb` of each worker. RSS is read from
/proc, because uWSGI updates its own figure only at the end of a request and sets it to 0 when a worker is replaced.
"""

import argparse
import json
import random
import select
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from lowtide import memory

COLUMNS = ("time", "pss_mb", "working_set_mb", "oom_kills", "requests", "workers")


def stats(path: str, seconds: float = 5) -> dict[str, Any]:
    """uWSGI's statistics from its stats socket, which may take `seconds` for each part of its answer.

    Raises:
        OSError: nobody answers there.
        ValueError: the answer is cut short, as it is when the server stops.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        chunks = iter(lambda: connection.recv(65536), b"")
        answer: dict[str, Any] = json.loads(b"".join(chunks))
        return answer


@dataclass(frozen=True)
class Server:
    """A server at one moment: its first process, the workers that are alive, and the requests that uWSGI counted."""

    pid: int
    workers: list[int]
    requests: int | None = None

    def pss_mb(self) -> float:
        """Sum of PSS over all its processes, MiB.

        Raises:
            ProcessLookupError: it has ended.
        """
        if pss := memory.tree_pss_mb(self.pid):
            return pss
        raise ProcessLookupError(f"there is no process {self.pid}")


def uwsgi(path: str) -> Server:
    """The uWSGI behind a stats socket. Raises what `stats` does."""
    figures = stats(path)
    workers = figures["workers"]
    alive = [worker["pid"] for worker in workers if worker["pid"] > 0 and worker["status"] != "cheap"]
    return Server(figures["pid"], alive, sum(worker["requests"] for worker in workers))


def line(server: Server, cgroup: bool) -> str:
    """One line of CSV."""
    pss = server.pss_mb()
    working_set = f"{memory.working_set_mb() or 0:.1f}" if cgroup else ""
    killed = f"{memory.oom_kills() or 0}" if cgroup else ""
    counted = ("", "") if server.requests is None else (server.requests, len(server.workers))
    return f"{time.time():.3f},{pss:.1f},{working_set},{killed},{counted[0]},{counted[1]}"


def once(server: Server) -> str:
    """The answer to --once."""
    workers = [{"pid": pid, "rss_mb": round(memory.rss_mb(pid), 1)} for pid in server.workers]
    return json.dumps({"pss_mb": round(server.pss_mb(), 1), "workers": workers})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lowtide.sample", description=__doc__.split("\n", 1)[0])
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--stats", help="uWSGI's stats socket")
    server.add_argument("--pid", type=int, help="the first process of another server")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between two samples, on average")
    parser.add_argument("--cgroup", action="store_true", help="read this container's cgroup too")
    parser.add_argument("--once", action="store_true", help="print one JSON object and end")
    options = parser.parse_args()

    def look() -> Server:
        return uwsgi(options.stats) if options.stats else Server(options.pid, memory.tree(options.pid)[1:])

    if options.once:
        try:
            print(once(look()))
        except (OSError, ValueError) as error:
            print(f"{options.stats or options.pid}: {error}", file=sys.stderr)
            return 1
        return 0
    print(",".join(COLUMNS), flush=True)
    due = time.monotonic()
    while True:
        try:
            print(line(look(), options.cgroup), flush=True)
        except (OSError, ValueError) as error:
            print(f"No sample: {options.stats or options.pid}: {error}", file=sys.stderr, flush=True)
        # The interval varies, because with a regular load a fixed one would always measure at the same point of it.
        due = max(due + options.interval * random.uniform(0.5, 1.5), time.monotonic())  # noqa: S311
        if select.select([sys.stdin], [], [], max(0, due - time.monotonic()))[0]:
            return 0


if __name__ == "__main__":
    raise SystemExit(main())
