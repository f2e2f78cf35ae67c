"""Reports requests to OpenTelemetry and errors to Sentry. Each is off, and not imported, without its switch:

- OTEL_EXPORTER_OTLP_ENDPOINT (http://collector:4318): a span for each request, as OTLP over HTTP. The SDK's other
  variables (OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, ...) hold too.
- SENTRY_DSN: errors, and a transaction for this share of the requests: SENTRY_TRACES_SAMPLE_RATE, 0 by default.

A span or transaction is named METHOD ROUTE and has the request's id and what the ledger knows of it: `lowtide.peak_mb`
and so on. It ends after the answer is sent and memory was given back. The libraries (requirements/telemetry.txt) are
imported before the fork, so that workers share their pages; threads and connections begin in the worker. A worker that
ends sends what it still has and waits for that for FLUSH_S seconds at most; one that is killed cannot.
"""

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, Protocol
from urllib.parse import urlsplit

from lowtide.ledger import Served
from lowtide.wsgi import Application, Environ

FLUSH_S = 1.0
ENDPOINT, DSN, SHARE = "OTEL_EXPORTER_OTLP_ENDPOINT", "SENTRY_DSN", "SENTRY_TRACES_SAMPLE_RATE"


def problem(environment: Mapping[str, str]) -> str:
    """Why the switches cannot be used, in one line; empty if they can. An address is not shown: it may hold a key."""
    endpoint, dsn = environment.get(ENDPOINT), environment.get(DSN)
    if endpoint and not (urlsplit(endpoint).scheme in ("http", "https") and urlsplit(endpoint).hostname):
        return f"{ENDPOINT} cannot be used: write http://HOST:4318, an address for OTLP over HTTP."
    if dsn:
        parts = urlsplit(dsn)
        if not (parts.scheme in ("http", "https") and parts.username and parts.path.rpartition("/")[2].isdecimal()):
            return f"{DSN} cannot be used: write the one that Sentry shows for the project, https://KEY@HOST/NUMBER."
    try:
        share = float(environment.get(SHARE) or 0)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        return f"{SHARE}={environment[SHARE]} cannot be used: write a number from 0 to 1."
    for name, module in ((ENDPOINT, "opentelemetry.exporter.otlp.proto.http"), (DSN, "sentry_sdk")):
        if environment.get(name) and not _is_installed(module):
            return f"{name} is set, but {module} is not installed: pip install -r requirements/telemetry.txt"
    if (endpoint or dsn) and environment.get("LEDGER") == "0":
        return (
            f"{ENDPOINT if endpoint else DSN} is set, but what is reported comes from the ledger: do not set LEDGER=0."
        )
    return ""


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class Report(Protocol):
    """One service to which a worker reports."""

    def start(self) -> None: ...
    def begin(self, environ: Environ) -> "Request": ...
    def flush(self) -> None: ...


class Request(Protocol):
    """A request that is served."""

    def failed(self, error: BaseException) -> None: ...
    def end(self, served: Served | None) -> None: ...


class Telemetry:
    """The reports that are switched on."""

    def __init__(self, reports: Iterable[Report], health: frozenset[str]) -> None:
        self._reports = list(reports)
        self._health = health
        # The requests that run, by the thread's id.
        self._running: dict[int, list[Request]] = {}

    def start(self) -> None:
        """Call this in a worker, after the fork."""
        for report in self._reports:
            report.start()

    def watched(self, application: Application) -> Application:
        """Wrap the application so that each request but a health check is begun; the adapter calls `end`."""

        def watching(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            requests: list[Request] = []
            if environ.get("PATH_INFO") not in self._health:
                requests = self._running[threading.get_ident()] = [report.begin(environ) for report in self._reports]
            try:
                return application(environ, start_response)
            except Exception as error:
                for request in requests:
                    request.failed(error)
                raise

        return watching

    def end(self, served: Served | None) -> None:
        """Call this when a request has ended, with what the ledger knows of it."""
        for request in reversed(self._running.pop(threading.get_ident(), [])):
            request.end(served)

    def flush(self) -> None:
        """Send what is still here, for FLUSH_S seconds at most: a worker must end, also where nobody answers."""
        threads = [threading.Thread(target=report.flush, daemon=True) for report in self._reports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(FLUSH_S)


def chosen(health: frozenset[str]) -> Telemetry | None:
    """What the environment switches on; None for nothing. Imports the libraries."""
    reports: list[Report] = []
    if os.environ.get(ENDPOINT):
        reports.append(Traces())
    if os.environ.get(DSN):
        reports.append(Sentry())
    return Telemetry(reports, health) if reports else None


def _figures(served: Served) -> dict[str, float]:
    figures = {"worker": served.worker, "retained_mb": served.retained_mb, "given_back_mb": served.given_back_mb}
    if served.peak_mb is not None:
        figures["peak_mb"] = served.peak_mb
    return {f"lowtide.{name}": round(figure, 1) for name, figure in figures.items()}


class Traces:
    """OpenTelemetry. The span is the current one while the application runs, so that spans of its own lie below it."""

    def __init__(self) -> None:
        from opentelemetry import context, propagate, trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.context, self.propagate, self.trace = context, propagate, trace
        # Both import more when they are made, and neither has a thread or a connection yet.
        self._resource, self._exporter = Resource.create(), OTLPSpanExporter()
        self._provider_class, self._processor_class = TracerProvider, BatchSpanProcessor
        self._provider: Any = None

    def start(self) -> None:
        # Otherwise it would wait for the exporter again at the end, without a bound.
        self._provider = self._provider_class(resource=self._resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor_class(self._exporter))
        self.trace.set_tracer_provider(self._provider)
        self.tracer = self.trace.get_tracer("lowtide")

    def begin(self, environ: Environ) -> "_Span":
        return _Span(self, environ)

    def flush(self) -> None:
        if self._provider:
            self._provider.shutdown()


class _Span:
    def __init__(self, traces: Traces, environ: Environ) -> None:
        self._traces = traces
        trace, method = traces.trace, environ.get("REQUEST_METHOD", "")
        carrier = {name: environ.get(f"HTTP_{name.upper()}", "") for name in ("traceparent", "tracestate")}
        self._span = traces.tracer.start_span(method, traces.propagate.extract(carrier), trace.SpanKind.SERVER)
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("lowtide.request_id", environ.get("HTTP_X_REQUEST_ID", "-"))
        self._token = traces.context.attach(trace.set_span_in_context(self._span))

    def failed(self, error: BaseException) -> None:
        self._span.record_exception(error)

    def end(self, served: Served | None) -> None:
        if served:
            self._span.update_name(f"{served.method} {served.route}")
            self._span.set_attribute("http.route", served.route)
            self._span.set_attribute("http.response.status_code", served.status)
            self._span.set_attributes(_figures(served))
            if served.status >= 500:
                self._span.set_status(self._traces.trace.StatusCode.ERROR)
        self._traces.context.detach(self._token)
        self._span.end()


class Sentry:
    """Sentry's SDK, with its integration for Django where the application is one of Django's."""

    def __init__(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration

        self.sdk = sentry_sdk
        self._integrations: list[Any] = []
        self._without = [AtexitIntegration()]
        if "django" in sys.modules:
            from sentry_sdk.integrations.django import DjangoIntegration

            # The transaction is ours, because Django's ends before the ledger knows the peak.
            self._integrations.append(DjangoIntegration(http_methods_to_capture=()))

    def start(self) -> None:
        with warnings.catch_warnings():
            # It warns of uWSGI options that concern threads from before the fork; here they begin after it.
            warnings.simplefilter("ignore")
            self.sdk.init(
                integrations=self._integrations,
                # It would try to import each library that it knows, in each worker.
                auto_enabling_integrations=False,
                # It waits at the end of a process, as `flush` does.
                disabled_integrations=self._without,
                traces_sample_rate=float(os.environ.get(SHARE) or 0),
            )

    def begin(self, environ: Environ) -> "_Transaction":
        return _Transaction(self, environ)

    def flush(self) -> None:
        self.sdk.flush(timeout=FLUSH_S)


class _Transaction:
    def __init__(self, sentry: Sentry, environ: Environ) -> None:
        self._sdk = sentry.sdk
        self._isolation: AbstractContextManager[Any] = self._sdk.isolation_scope()
        self._isolation.__enter__().set_tag("request_id", environ.get("HTTP_X_REQUEST_ID", "-"))
        self._transaction = self._sdk.start_transaction(op="http.server", name=environ.get("REQUEST_METHOD", ""))
        self._transaction.__enter__()

    def failed(self, error: BaseException) -> None:
        self._sdk.capture_exception(error)

    def end(self, served: Served | None) -> None:
        if served:
            self._transaction.name, self._transaction.source = f"{served.method} {served.route}", "route"
            self._transaction.set_http_status(served.status)
            for name, figure in _figures(served).items():
                self._transaction.set_data(name, figure)
        self._transaction.__exit__(None, None, None)
        self._isolation.__exit__(None, None, None)
