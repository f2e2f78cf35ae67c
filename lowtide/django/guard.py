"""Answers malformed requests and failures of the database, which would otherwise be errors 500.

Add the class to MIDDLEWARE, after the health checks, and wrap the WSGI application for errors that Django raises before
it calls its middleware:

    application = readable(get_wsgi_application())
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from django.db import DataError, InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils.http import parse_header_parameters

from lowtide import busy
from lowtide.wsgi import Application, Environ

log = logging.getLogger(__name__)
PART_BYTES = 64 * 1024
RETRY_AFTER_S = 5
# SQLite's code for a wrong statement, which is a fault of the application and not of the database.
SQLITE_ERROR = 1


class GuardMiddleware:
    """For any application:

    - A NUL in the address, a header or a cookie is answered 400, because PostgreSQL cannot store one and every view
      that uses it in a query would fail. A value of the body that the database cannot store is answered 400 too.
    - When the database is down, silent or overloaded, the answer is 503 with Retry-After, and a line is logged.
    - The unread rest of a body is read to its end: otherwise uWSGI would close the socket, and nginx would answer 502
      in place of the view's answer.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._said = float("-inf")

    def __call__(self, request: HttpRequest) -> HttpResponse:
        reason = next(unusable(request), "")
        response = refused(request, HTTPStatus.BAD_REQUEST, reason) if reason else self.get_response(request)
        drain(request)
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, DataError):
            log.warning("The database refuses what %s %s sent: %s", request.method, request.path, first_line(exception))
            return refused(request, HTTPStatus.BAD_REQUEST, "the database cannot hold one of the values sent")
        if not is_away(exception):
            return None
        # Logged once in ten seconds only, because every request fails while the database is down.
        if (now := time.monotonic()) - self._said > 10:
            self._said = now
            log.error("The database does not answer: %s", first_line(exception))
        response = refused(request, HTTPStatus.SERVICE_UNAVAILABLE, "the database does not answer, try again soon")
        response["Retry-After"] = str(RETRY_AFTER_S)
        return response


def unusable(request: HttpRequest) -> Iterator[str]:
    """The reasons why no view can handle the request."""
    if "\0" in request.path_info:
        yield "the path holds a NUL character"
    if "\0" in (query := request.META.get("QUERY_STRING", "")) or "%00" in query:
        yield "the query holds a NUL character"
    if any("\0" in value for name, value in request.META.items() if name.startswith(("HTTP_", "CONTENT_"))):
        yield "a header holds a NUL character"
    # A cookie's value may be quoted, with a NUL written as \000.
    if any("\0" in value for value in request.COOKIES.values()):
        yield "a cookie holds a NUL character"


def readable(application: Application) -> Application:
    """Wrap the application so that it does not see a charset in Content-Type that is not a text encoding.

    Django decodes the query with that charset when it makes the request, so `charset=base64` would be a 500.
    """

    def reading(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        content_type, parameters = parse_header_parameters(environ.get("CONTENT_TYPE", ""))
        if "charset" in parameters and not is_text_encoding(parameters["charset"]):
            environ["CONTENT_TYPE"] = content_type
        return application(environ, start_response)

    return reading


def is_text_encoding(name: str) -> bool:
    """Whether bytes can be decoded to text with it. Python also has other codecs, such as base64."""
    try:
        return bool(b"\xffa".decode(name, "replace"))
    except (LookupError, ValueError):
        return False


def is_away(exception: Exception) -> bool:
    """Whether the database cannot work at the moment; otherwise the statement was wrong."""
    if isinstance(exception, InterfaceError):
        return True
    code = getattr(exception.__cause__, "sqlite_errorcode", None)
    return isinstance(exception, OperationalError) and (code is None or code & 0xFF != SQLITE_ERROR)


def drain(request: HttpRequest) -> None:
    with contextlib.suppress(UnreadablePostError, ValueError):
        while request.read(PART_BYTES):
            pass


def wants_json(request: HttpRequest) -> bool:
    """Whether the client asked for JSON, or sent JSON and did not ask for HTML."""
    return busy.wants_json(request.META)


def refused(request: HttpRequest, status: HTTPStatus, reason: str) -> HttpResponse:
    """The reason as JSON for a client that asked for JSON or sent it, otherwise as plain text."""
    if wants_json(request):
        return JsonResponse({"error": reason}, status=status)
    return HttpResponse(f"{reason[0].upper()}{reason[1:]}.\n", status=status, content_type="text/plain")


def first_line(exception: Exception) -> str:
    return str(exception).split("\n", 1)[0]
