"""Memory, requests and workers of a running uWSGI for Prometheus, at http://127.0.0.1:9117/metrics.

    python -m lowtide.metrics

Environment: RUN_DIR (its stats.sock has uWSGI's statistics), METRICS_BIND (127.0.0.1; 0.0.0.0 opens it to the network),
METRICS_PORT (9117). It runs beside the server, as the same user, and must see the server's processes in /proc. While
uWSGI does not answer, lowtide_up is 0 and no other figure is shown.

This is the only module of the runtime that needs a package, prometheus-client (`pip install lowtide[metrics]`). It runs
as a process of its own, and no server imports it.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import MetricsHandler
from prometheus_client.registry import Collector

from lowtide import ledger, memory
from lowtide.sample import uwsgi

PORT = 9117


class Server(Collector):
    """The figures of the server behind a stats socket, read again for each scrape."""

    def __init__(self, stats_socket: str) -> None:
        self._stats_socket = stats_socket

    def collect(self) -> Iterator[Metric]:
        up = "1 while uWSGI answers."
        try:
            server = uwsgi(self._stats_socket)
            pss = server.pss_mb() * memory.MIB
        except (OSError, ValueError):
            yield GaugeMetricFamily("lowtide_up", up, value=0)
            return
        yield GaugeMetricFamily("lowtide_up", up, value=1)
        yield GaugeMetricFamily("lowtide_memory_pss_bytes", "Sum of PSS over master and workers.", value=round(pss))
        served = server.requests or 0
        yield CounterMetricFamily("lowtide_requests_total", "Requests served since the start.", value=served)
        yield GaugeMetricFamily("lowtide_workers", "Workers alive.", value=len(server.workers))
        yield from _routes(Path(self._stats_socket).with_name("ledger"))


def _routes(file: Path) -> Iterator[Metric]:
    """The figures of each route, from the ledger."""
    try:
        routes, _ = ledger.read(file)
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


def handler(stats_socket: str) -> type[MetricsHandler]:
    """The class that answers a scrape."""
    figures = CollectorRegistry()
    figures.register(Server(stats_socket))

    class Handler(MetricsHandler):
        registry = figures
        # Seconds after which a client that sends nothing is disconnected, so that it does not occupy a thread.
        timeout = 10

    return Handler


def main() -> int:
    stats_socket = f"{os.environ.get('RUN_DIR', '/run/lowtide')}/stats.sock"
    address, port = os.environ.get("METRICS_BIND") or "127.0.0.1", os.environ.get("METRICS_PORT") or str(PORT)
    if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        print(f"METRICS_PORT={port} is not a port: give a number from 1 to 65535.", file=sys.stderr)
        return 2
    try:
        server = ThreadingHTTPServer((address, int(port)), handler(stats_socket))
    except OSError as error:
        said = f"lowtide.metrics cannot listen on METRICS_BIND={address} METRICS_PORT={port}: {error.strerror}."
        print(said, file=sys.stderr)
        return 2
    with server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
