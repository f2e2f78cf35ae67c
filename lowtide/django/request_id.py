"""Puts the request's id into every line of the log. nginx's log and the answer's X-Request-ID have the same id.

The middleware also tells the ledger (`lowtide.ledger`) which URL pattern the request matched.
"""

import logging
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from lowtide.ledger import ROUTE

current: ContextVar[str] = ContextVar("request_id", default="-")


class RequestIdMiddleware:
    """Remembers X-Request-ID, which nginx sets, until the next request: Django logs a 404 after all middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        current.set(request.headers.get("X-Request-ID", "-"))
        try:
            return self.get_response(request)
        finally:
            if match := request.resolver_match:
                request.META[ROUTE] = f"/{match.route}"


class RequestIdFilter(logging.Filter):
    """Gives each record its `request_id`, "-" outside of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current.get()
        return True
