"""Does before the fork what the first requests would do, each worker for itself: what is done here, all workers share.

PRELOAD in the environment: `requests` (all of it, the default), `code` (no requests), `off`; for measuring what each is
worth, with `make forks`.
"""

import io
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.template import engines
from django.template.backends.django import DjangoTemplates
from django.urls import get_resolver, reverse
from django.urls.resolvers import URLResolver

from lowtide.django.health import what_is_missing

log = logging.getLogger(__name__)
# One request of each kind: imports that wait inside functions, compiled queries, the interpreter's own caches.
REQUESTS: tuple[tuple[str, str, str, object], ...] = (
    ("GET", "catalog:list", "page=2", None),
    ("GET", "catalog:list", "q=oak", None),
    ("POST", "catalog:import", "dry_run=1", []),
    ("GET", "admin:login", "", None),
)
# Python specialises code that has run a few times, and writes that into the code.
TIMES = 10


def preload(application: Callable[..., Any]) -> None:
    extent = os.environ.get("PRELOAD") or "requests"
    if extent != "off":
        load_code()
    if extent == "requests":
        answer_requests(application)


def _resolve(resolver: URLResolver) -> None:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            _resolve(pattern)


def load_code() -> None:
    """Load the URLconf with all it imports, and our templates."""
    resolver = get_resolver()
    _resolve(resolver)
    # Builds the tables for reverse().
    resolver.reverse_dict  # noqa: B018
    for engine in engines.all():
        if isinstance(engine, DjangoTemplates):
            for folder in engine.template_dirs:
                # Of installed packages, such as the admin, most templates are never asked for.
                if "site-packages" not in Path(folder).parts:
                    for path in Path(folder).rglob("*.html"):
                        engine.get_template(str(path.relative_to(folder)))


def answer_requests(application: Callable[..., Any]) -> None:
    """Have the application answer REQUESTS, none of which changes anything. Without a ready database it is left out."""
    try:
        connection.ensure_connection()
        if what_is_missing():
            return
        for _ in range(TIMES):
            for method, name, query, body in REQUESTS:
                _answer(application, method, reverse(name), query, body)
    except DatabaseError as error:
        log.warning("The database does not answer yet, so workers start cold: %s", error)
    finally:
        # Two processes on one connection would read each other's answers.
        connections.close_all()


def _answer(application: Callable[..., Any], method: str, path: str, query: str, body: object) -> None:
    data = b"" if body is None else json.dumps(body).encode()
    host = settings.ALLOWED_HOSTS[0].lstrip(".")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "HTTP_HOST": "localhost" if host == "*" else host,
        "HTTP_X_FORWARDED_PROTO": "https" if settings.HTTPS else "http",
        "HTTP_AUTHORIZATION": f"Bearer {settings.IMPORT_TOKEN}",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
    }
    setup_testing_defaults(environ)
    statuses: list[str] = []
    response = application(environ, lambda status, _: statuses.append(status))
    for _ in response:
        pass
    response.close()
    if not statuses[0].startswith("200"):
        log.warning("%s %s answered %s before the fork", method, path, statuses[0])
