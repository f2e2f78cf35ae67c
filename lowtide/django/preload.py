"""Does the work of the first requests before the fork, so that workers share its memory and none repeats it.

PRELOAD in the environment: `requests` (load code and answer requests, the default), `code` (no requests), `off`.
`make forks` uses it to measure what each is worth.
"""

import io
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.template import engines
from django.template.backends.django import DjangoTemplates
from django.urls import get_resolver
from django.urls.resolvers import URLResolver

from lowtide.application import Application, Call, find, headers, read
from lowtide.django import stores
from lowtide.django.health import what_is_missing

log = logging.getLogger(__name__)
# Python specialises code that has run a few times, and writes the result into the code's memory. So requests are
# repeated until that is done, before the memory is shared.
TIMES = 10


def preload(application: Callable[..., Any]) -> None:
    stores.write()
    extent = os.environ.get("PRELOAD") or "requests"
    if extent != "off":
        load_code()
    if extent == "requests" and find():
        answer_requests(application, read())


def _resolve(resolver: URLResolver) -> None:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            _resolve(pattern)


def load_code() -> None:
    """Load the URLconf with everything that it imports, and the project's own templates."""
    resolver = get_resolver()
    _resolve(resolver)
    # Reading this attribute builds the tables for reverse().
    resolver.reverse_dict  # noqa: B018
    for engine in engines.all():
        if isinstance(engine, DjangoTemplates):
            for folder in engine.template_dirs:
                # Templates of installed packages, such as the admin, are left out, because most are never used.
                if "site-packages" not in Path(folder).parts:
                    for path in Path(folder).rglob("*.html"):
                        engine.get_template(str(path.relative_to(folder)))


def answer_requests(application: Callable[..., Any], described: Application) -> None:
    """Let the application answer the requests under [[preload]]. Does nothing while the database is not ready."""
    try:
        connection.ensure_connection()
        if what_is_missing():
            return
        for _ in range(TIMES):
            for call in described.preload:
                _answer(application, call)
    except DatabaseError as error:
        log.warning("The database does not answer yet, so workers start cold: %s", error)
    finally:
        # Workers must not inherit a connection: two processes on one would read each other's answers.
        connections.close_all()


def _answer(application: Callable[..., Any], call: Call) -> None:
    path, _, query = call.path.partition("?")
    data = call.body.encode()
    host = settings.ALLOWED_HOSTS[0].lstrip(".") if settings.ALLOWED_HOSTS else "localhost"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        # WSGI wants the bytes of the path, each as one character.
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "HTTP_HOST": "localhost" if host == "*" else host,
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
    }
    if settings.SECURE_PROXY_SSL_HEADER:
        # Pretend that the request came by HTTPS, because otherwise the answer would be a redirect to HTTPS.
        name, value = settings.SECURE_PROXY_SSL_HEADER
        environ[name] = value
    for name, value in headers(call, os.environ).items():
        variable = name.upper().replace("-", "_")
        environ[variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"] = value
    setup_testing_defaults(environ)
    statuses: list[str] = []
    response = application(environ, lambda status, _: statuses.append(status))
    for _ in response:
        pass
    response.close()
    if not statuses[0].startswith(str(call.status)):
        log.warning("%s %s answered %s before the fork", call.method, call.path, statuses[0])
