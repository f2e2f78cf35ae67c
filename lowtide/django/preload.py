"""Does before the fork what the first requests would do, each worker for itself: what is done here, all workers share.

PRELOAD in the environment: `requests` (all of it, the default), `code` (no requests), `off`; for measuring what each is
worth, with `make forks`.
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
# Python specialises code that has run a few times, and writes that into the code.
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


def answer_requests(application: Callable[..., Any], described: Application) -> None:
    """Have the application answer the requests under [[preload]]. Without a ready database that is left out."""
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
        # Two processes on one connection would read each other's answers.
        connections.close_all()


def _answer(application: Callable[..., Any], call: Call) -> None:
    path, _, query = call.path.partition("?")
    data = call.body.encode()
    host = settings.ALLOWED_HOSTS[0].lstrip(".") if settings.ALLOWED_HOSTS else "localhost"
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        # As WSGI has it: the bytes of the path, one character each.
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "HTTP_HOST": "localhost" if host == "*" else host,
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": io.BytesIO(data),
    }
    if settings.SECURE_PROXY_SSL_HEADER:
        # As if it had come by HTTPS, or it would be sent there.
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
