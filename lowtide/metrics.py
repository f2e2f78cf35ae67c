"""Memory, workers and requests of a running server for Prometheus, at http://127.0.0.1:9117/metrics.

    python -m lowtide.metrics              the uWSGI whose stats.sock is in RUN_DIR
    python -m lowtide.metrics --pid PID    another server, by its first process: its memory, and that of its workers
    python -m lowtide.metrics --neighbour  the uWSGI of another container that has the same RUN_DIR (lowtide.neighbour)

Environment: RUN_DIR (stats.sock, ledger and counts of the server; refused.sock, to which nginx sends the pool of each
request that is answered 503), METRICS_BIND (127.0.0.1; 0.0.0.0 opens it to the network), METRICS_PORT (9117). It runs
beside the server and as the same user, and without --neighbour it must see the server's processes in /proc. While the
server does not answer, lowtide_up is 0 and figures of it are not shown.

Figures that uwsgi_exporter has carry its names (uwsgi_...), and the others are called lowtide_... A worker is named by
its number, because a pid would be a new time series with each replacement.

This is the only module of the runtime that needs a package, prometheus-client (`pip install lowtide[metrics]`). It runs
as a process of its own, and no server imports it.
"""

import argparse
import itertools
import os
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import MetricsHandler
from prometheus_client.registry import Collector

from lowtide import counts, ledger, memory, neighbour, recycles, sample

PORT = 9117
# Seconds for each part of uWSGI's answer. The page is due within a second, also while workers end.
STATS_SECONDS = 0.5
# The edges of the histogram of peaks, MiB.
EDGES_MB = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
POOLS = ("small", "large")

# uWSGI's figures of a worker: kind, name, explanation, key in its statistics, how many of its units are one of ours.
_WORKER: list[tuple[Any, str, str, str, float]] = [
    (CounterMetricFamily, "requests", "Requests served.", "requests", 1),
    (CounterMetricFamily, "exceptions", "Requests that ended in an exception.", "exceptions", 1),
    (CounterMetricFamily, "harakiri_count", "Requests killed by harakiri.", "harakiri_count", 1),
    (CounterMetricFamily, "respawn_count", "How often the worker was started.", "respawn_count", 1),
    (CounterMetricFamily, "transmitted_bytes", "Bytes sent.", "tx", 1),
    (GaugeMetricFamily, "accepting", "1 while it accepts requests.", "accepting", 1),
    (GaugeMetricFamily, "delta_requests", "Requests served since it was started.", "delta_requests", 1),
    (GaugeMetricFamily, "running_time_seconds", "Time spent in requests.", "running_time", 1e6),
    (GaugeMetricFamily, "last_spawn_time_seconds", "When it was started, Unix time.", "last_spawn", 1),
    (GaugeMetricFamily, "average_response_time_seconds", "Average time of a request.", "avg_rt", 1e6),
]
_STATES = ("busy", "idle", "cheap")


class Usage(NamedTuple):
    """Memory of one process in bytes; `uss` is what would become free if it ended."""

    pss: float
    uss: float
    rss: float


def usage(pid: int) -> Usage | None:
    """None where the process has ended."""
    figures = memory.fields_mb(pid, "smaps_rollup", "Pss", "Private_Clean", "Private_Dirty", "Rss")
    if figures is None:
        return None
    pss, clean, dirty, rss = (figure * memory.MIB for figure in figures)
    return Usage(pss, clean + dirty, rss)


class Refused:
    """Counts the requests that nginx answers 503, by pool: nginx sends a datagram for each to RUN_DIR/refused.sock."""

    def __init__(self, run_dir: Path) -> None:
        self.by_pool = Counter(dict.fromkeys(POOLS, 0))
        path = run_dir / "refused.sock"
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # nginx has another user in its container, and reaches the socket through the group.
        before = os.umask(0o117)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(before)
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        while True:
            pool = self._socket.recv(512).decode(errors="replace").rpartition(" ")[2].strip()
            if pool in POOLS:
                self.by_pool[pool] += 1


class Places:
    """Numbers for workers that have none: a new one takes the lowest that is free, and so that of its predecessor.

    Attributes:
        respawns: how often each number has gone to another process, as far as scrapes have seen it.
    """

    def __init__(self) -> None:
        self.respawns: dict[int, int] = {}
        self._pids: dict[int, int] = {}
        # Two scrapes may come at once.
        self._lock = threading.Lock()

    def take(self, pids: list[int]) -> dict[int, int]:
        """The pids by their numbers."""
        with self._lock:
            kept = {number: pid for number, pid in self._pids.items() if pid in pids}
            for pid in pids:
                if pid not in kept.values():
                    number = next(number for number in itertools.count(1) if number not in kept)
                    kept[number] = pid
                    self.respawns[number] = self.respawns.get(number, -1) + 1
            self._pids = dict(sorted(kept.items()))
            return self._pids


class Server(Collector):
    """The figures of a server, read again for each scrape.

    Args:
        run_dir: the folder of uWSGI's stats socket, ledger and counts.
        pid: the first process of another server, instead of uWSGI.

    Attributes:
        refused: the count of refused requests, where nginx sends them.
    """

    def __init__(self, run_dir: Path, pid: int | None = None) -> None:
        self._run_dir, self._pid = run_dir, pid
        self.refused: Refused | None = None
        self._places = Places()

    def collect(self) -> Iterator[Metric]:
        yield from self._server()
        with suppress(OSError):
            disk = os.statvfs(self._run_dir)
            yield _gauge("lowtide_bodies_disk_size_bytes", "Disk for request bodies.", disk.f_blocks * disk.f_frsize)
            yield _gauge("lowtide_bodies_disk_free_bytes", "Its free part.", disk.f_bavail * disk.f_frsize)
        if self.refused:
            refused = CounterMetricFamily("lowtide_refused_requests", "Requests answered 503.", labels=["pool"])
            for pool, number in self.refused.by_pool.items():
                refused.add_metric([pool], number)
            yield refused

    def _server(self) -> Iterator[Metric]:
        stats: dict[str, Any] = {}
        processes: dict[int, Usage] = {}
        with suppress(OSError, ValueError):
            if not self._pid:
                stats = sample.stats(str(self._run_dir / "stats.sock"), STATS_SECONDS)
            processes = {pid: used for pid in memory.tree(self._pid or stats["pid"]) if (used := usage(pid))}
        up = int(bool(processes))
        yield _gauge("lowtide_up", "1 while the server answers.", up)
        if not self._pid:
            yield _gauge("uwsgi_up", "1 while uWSGI answers.", up)
        if not up:
            return
        pss = round(sum(used.pss for used in processes.values()))
        yield _gauge("lowtide_memory_pss_bytes", "Sum of PSS over the server's processes.", pss)
        yield from _container(self._pid or stats["pid"])
        if self._pid:
            places = self._places.take(_workers_below(self._pid))
            yield _gauge("lowtide_workers", "Workers alive.", len(places))
            respawns = CounterMetricFamily("uwsgi_worker_respawn_count", "Times it was replaced.", labels=["worker_id"])
            for number, count in self._places.respawns.items():
                respawns.add_metric([str(number)], count)
            yield respawns
            yield from _memory({number: (pid, _age_s(pid)) for number, pid in places.items()}, processes)
            return
        workers = [worker for worker in stats["workers"] if worker["id"]]
        alive = sum(worker["pid"] > 0 and worker["status"] != "cheap" for worker in workers)
        yield _gauge("lowtide_workers", "Workers alive.", alive)
        yield _gauge("uwsgi_workers", "Workers configured.", len(workers))
        served = CounterMetricFamily("lowtide_requests", "Requests served since the start.")
        served.add_metric([], sum(worker["requests"] for worker in workers))
        yield served
        yield from _workers(workers, processes)
        yield from _queues(stats)
        yield from _counted(self._run_dir / "counts")
        yield from _routes(self._run_dir / "ledger")


def _gauge(name: str, explanation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, explanation, value=value)


def _container(pid: int) -> Iterator[Metric]:
    """The container of the server, which in Compose and Kubernetes is another than this process's."""
    cgroup = memory.cgroup_of(pid)
    with suppress(OSError):
        if (working_set := memory.working_set_mb(cgroup)) is not None:
            explanation = "Memory of the container that the kernel cannot drop."
            yield _gauge("lowtide_working_set_bytes", explanation, working_set * memory.MIB)
        if (limit := memory.limit_mb(cgroup)) is not None:
            yield _gauge("lowtide_memory_limit_bytes", "The container's memory limit.", limit * memory.MIB)
        if (kills := memory.oom_kills(cgroup)) is not None:
            yield CounterMetricFamily("lowtide_oom_kills", "Processes killed by the kernel for memory.", value=kills)


def _workers(workers: Iterable[dict[str, Any]], processes: dict[int, Usage]) -> Iterator[Metric]:
    label = ["worker_id"]
    for kind, name, explanation, key, units in _WORKER:
        family = kind(f"uwsgi_worker_{name}", explanation, labels=label)
        for worker in workers:
            family.add_metric([str(worker["id"])], worker[key] / units)
        yield family
    for state in _STATES:
        family = GaugeMetricFamily(f"uwsgi_worker_{state}", f"1 while it is {state}.", labels=label)
        for worker in workers:
            # While it runs a signal's handler, uWSGI calls it `sig` and a number.
            family.add_metric([str(worker["id"])], int(worker["status"].startswith(state)))
        yield family
    yield from _memory(
        {worker["id"]: (worker["pid"], max(0.0, time.time() - worker["last_spawn"])) for worker in workers}, processes
    )


def _memory(workers: Mapping[int, tuple[int, float]], processes: Mapping[int, Usage]) -> Iterator[Metric]:
    """The memory and the age of workers, which are given by their numbers as pid and age."""
    label = ["worker_id"]
    families = {
        "uss": GaugeMetricFamily("lowtide_worker_uss_bytes", "What would become free if it ended.", labels=label),
        "pss": GaugeMetricFamily("lowtide_worker_pss_bytes", "Its share of the memory, PSS.", labels=label),
        # Not uWSGI's own figure, which is 0 after a replacement and old between requests.
        "rss": GaugeMetricFamily("uwsgi_worker_rss_bytes", "Its RSS, from /proc.", labels=label),
    }
    age = GaugeMetricFamily("lowtide_worker_age_seconds", "Time since it was started.", labels=label)
    for number, (pid, age_s) in workers.items():
        # A worker that has just ended has no figure here, rather than 0.
        if used := processes.get(pid):
            for name, family in families.items():
                family.add_metric([str(number)], getattr(used, name))
            age.add_metric([str(number)], age_s)
    yield from (*families.values(), age)


def _workers_below(pid: int) -> list[int]:
    """The workers of a server that is not uWSGI: the children of its first process, without Python's own helpers."""
    workers = []
    for child in memory.children(pid) or ():
        with suppress(OSError):
            if b"resource_tracker" not in Path(f"{memory.proc}/{child}/cmdline").read_bytes():
                workers.append(child)
    return workers


def _age_s(pid: int) -> float:
    """How long a process has run; 0 when it has ended."""
    ticks = memory.started_ticks(pid)
    if ticks is None:
        return 0.0
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def _queues(stats: dict[str, Any]) -> Iterator[Metric]:
    """How many connections wait in each socket. uWSGI itself knows that of TCP sockets only."""
    sockets = [{"name": found["name"], "proto": found["proto"], "queue": found["queue"]} for found in stats["sockets"]]
    with suppress(OSError):
        waiting = Counter(
            path
            for line in Path(f"{memory.proc}/{stats['pid']}/net/unix").read_text().splitlines()[1:]
            # A connection that nobody has accepted yet has no inode.
            if (columns := line.split(None, 7))[6] == "0"
            for path in columns[7:]
        )
        for found in sockets:
            found["queue"] = max(found["queue"], waiting[found["name"]])
    total = sum(found["queue"] for found in sockets)
    yield _gauge("uwsgi_listen_queue_length", "Connections that wait for a worker.", total)
    family = GaugeMetricFamily("uwsgi_socket_queue_length", "The same by socket.", labels=["name", "proto"])
    for found in sockets:
        family.add_metric([found["name"], found["proto"]], found["queue"])
    yield family


def _counted(file: Path) -> Iterator[Metric]:
    """What the workers count themselves."""
    try:
        counted = counts.read(file)
    except (OSError, ValueError):
        return
    ended = CounterMetricFamily("lowtide_recycles", "Workers that were replaced, by reason.", labels=["reason"])
    for reason in recycles.REASONS:
        ended.add_metric([reason], counted[reason])
    yield ended
    explanation = "How often heap was given back to the kernel."
    yield CounterMetricFamily("lowtide_give_backs", explanation, value=counted[counts.GIVE_BACKS])
    explanation = "Heap that was given back to the kernel."
    yield CounterMetricFamily("lowtide_given_back_bytes", explanation, value=counted[counts.GIVEN_BACK_BYTES])


def _routes(file: Path) -> Iterator[Metric]:
    """The figures of each route, from the ledger."""
    try:
        routes, peaks_unknown = ledger.read(file)
    except (OSError, ValueError):
        return
    mib = memory.MIB
    figures: list[tuple[Any, str, str, Callable[[ledger.Route], float]]] = [
        (CounterMetricFamily, "requests", "Requests by route.", lambda route: route.count),
        (CounterMetricFamily, "errors", "Answers 5xx.", lambda route: route.errors),
        (GaugeMetricFamily, "peak_p50_bytes", "Median peak of a request.", lambda route: route.peak_mb(0.5) * mib),
        (
            GaugeMetricFamily,
            "peak_p99_bytes",
            "What 99 of 100 did not exceed.",
            lambda route: route.peak_mb(0.99) * mib,
        ),
        (GaugeMetricFamily, "peak_max_bytes", "Highest peak.", lambda route: route.peak_max_mb * mib),
        (GaugeMetricFamily, "retained_bytes", "What stayed, in all.", lambda route: route.retained_mb * mib),
        (CounterMetricFamily, "given_back_bytes", "What was given back.", lambda route: route.given_back_mb * mib),
        (CounterMetricFamily, "seconds", "Time spent.", lambda route: route.seconds),
    ]
    for kind, name, explanation, figure in figures:
        family = kind(f"lowtide_route_{name}", explanation, labels=["method", "route"])
        for route in routes:
            family.add_metric([route.method, route.route], figure(route))
        yield family
    if peaks_unknown:
        return
    peaks = HistogramMetricFamily("lowtide_route_peak_bytes", "Requests by their peak.", labels=["method", "route"])
    for route in routes:
        edges = [(str(edge * mib), float(route.at_most(edge))) for edge in EDGES_MB]
        peaks.add_metric([route.method, route.route], [*edges, ("+Inf", sum(route.steps))], route.peak_sum_mb * mib)
    yield peaks


def handler(server: Server) -> type[MetricsHandler]:
    """The class that answers a scrape."""
    figures = CollectorRegistry(auto_describe=False)
    figures.register(server)

    class Handler(MetricsHandler):
        registry = figures
        # Seconds after which a client that sends nothing is disconnected, so that it does not occupy a thread.
        timeout = 10

    return Handler


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lowtide.metrics", description=(__doc__ or "").split("\n", 1)[0])
    server_is = parser.add_mutually_exclusive_group()
    server_is.add_argument("--pid", type=int, help="the first process of another server than uWSGI")
    server_is.add_argument("--neighbour", action="store_true", help="uWSGI runs in another container")
    options = parser.parse_args(arguments)
    run_dir = Path(os.environ.get("RUN_DIR", "/run/lowtide"))
    address, port = os.environ.get("METRICS_BIND") or "127.0.0.1", os.environ.get("METRICS_PORT") or str(PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        print(f"METRICS_PORT={port} is not a port: give a number from 1 to 65535.", file=sys.stderr)
        return 2
    server = Server(run_dir, options.pid)
    try:
        site = ThreadingHTTPServer((address, int(port)), handler(server))
    except OSError as error:
        said = f"lowtide.metrics cannot listen on METRICS_BIND={address} METRICS_PORT={port}: {error.strerror}."
        print(said, file=sys.stderr)
        return 2
    if options.neighbour:
        try:
            neighbour.take(run_dir)
        except OSError as error:
            print(f"lowtide.metrics cannot listen on {run_dir}/proc.sock: {error.strerror}.", file=sys.stderr)
            return 2
    if not options.pid:
        try:
            server.refused = Refused(run_dir)
        except OSError as error:
            print(f"Refused requests are not counted: {run_dir}/refused.sock: {error.strerror}", file=sys.stderr)
    with site:
        site.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
