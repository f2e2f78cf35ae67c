"""What OpenTelemetry and Sentry report to, on loopback or another address of this machine."""

import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver(ThreadingHTTPServer):
    """Keeps the spans that it gets, and Sentry's events and transactions. With `silent` it never answers."""

    daemon_threads = True

    def __init__(self, address: str, *, silent: bool) -> None:
        super().__init__((address, 0), Handler)
        self.address = address
        self.spans: list[tuple[str, dict[str, Any]]] = []
        self.events: list[dict[str, Any]] = []
        self.asked = threading.Event()
        self.silence = threading.Event() if silent else None

    def variables(self) -> dict[str, str]:
        """The switches, and nothing is sent before a worker ends."""
        here = f"{self.address}:{self.server_port}"
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{here}",
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "SENTRY_DSN": f"http://planted@{here}/1",
            "SENTRY_TRACES_SAMPLE_RATE": "1",
        }


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        if self.server.silence:
            self.server.silence.wait(60)
            return
        unpack = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress}.get(
            self.headers["Content-Encoding"], bytes
        )
        if self.path == "/v1/traces":
            self.keep_spans(unpack(body))
        elif self.path == "/api/1/envelope/":
            # A line of JSON for the envelope, and two for each item: its head and what it holds.
            self.server.events += [json.loads(line) for line in unpack(body).splitlines()[2::2]]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def keep_spans(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = [
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            ]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    figures = {pair.key: pair.value for pair in span.attributes}
                    values = {key: getattr(value, str(value.WhichOneof("value"))) for key, value in figures.items()}
                    self.server.spans.append((span.name, values | {"service": service, "trace": span.trace_id.hex()}))

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(address: str = "127.0.0.1", *, silent: bool = False) -> Iterator[Receiver]:
    with Receiver(address, silent=silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            if server.silence:
                server.silence.set()
            server.shutdown()
            thread.join()
