"""Memory, requests and workers of a running uWSGI for Prometheus, at http://127.0.0.1:9117/metrics.

    python -m lowtide.metrics

Environment: RUN_DIR (its stats.sock has uWSGI's statistics), METRICS_BIND (127.0.0.1; 0.0.0.0 opens it to the network),
METRICS_PORT (9117). Runs beside the server, as its user, and must see its processes in /proc. lowtide_up is 0 while
uWSGI does not answer, and then the only figure.
"""

import os
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lowtide import memory
from lowtide.sample import uwsgi

PORT = 9117
# https://prometheus.io/docs/instrumenting/exposition_formats/
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page(stats_socket: str) -> str:
    """The figures of the server behind `stats_socket`, in Prometheus' text format."""
    try:
        server = uwsgi(stats_socket)
        pss = server.pss_mb() * memory.MIB
    except (OSError, ValueError):
        return _sample("lowtide_up", "gauge", "1 while uWSGI answers.", 0)
    return (
        _sample("lowtide_up", "gauge", "1 while uWSGI answers.", 1)
        + _sample("lowtide_memory_pss_bytes", "gauge", "Sum of PSS over master and workers.", round(pss))
        + _sample("lowtide_requests_total", "counter", "Requests served since the start.", server.requests or 0)
        + _sample("lowtide_workers", "gauge", "Workers alive.", len(server.workers))
    )


def _sample(name: str, kind: str, explanation: str, value: int) -> str:
    return f"# HELP {name} {explanation}\n# TYPE {name} {kind}\n{name} {value}\n"


class Handler(BaseHTTPRequestHandler):
    """Answers GET /metrics."""

    stats_socket = ""
    # A client that says nothing does not hold its thread for longer, s.
    timeout = 10

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = page(self.stats_socket).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """A scrape every few seconds is no news."""


def main() -> None:
    Handler.stats_socket = f"{os.environ.get('RUN_DIR', '/run/lowtide')}/stats.sock"
    address = (os.environ.get("METRICS_BIND") or "127.0.0.1", int(os.environ.get("METRICS_PORT") or PORT))
    with ThreadingHTTPServer(address, Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
