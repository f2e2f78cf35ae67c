"""The answer of a worker that refuses a request: 503 with Retry-After, as HTML or JSON."""

from collections.abc import Callable
from typing import Any

from lowtide.wsgi import Environ

_HTML = (
    "text/html",
    b"<!doctype html>\n<title>The site is busy</title>\n<h1>The site is busy</h1>\n<p>Try again in a moment.</p>\n",
)
_JSON = "application/json", b'{"error": "busy", "status": 503, "detail": "The site is busy. Try again in a moment."}\n'


def wants_json(environ: Environ) -> bool:
    """The same rule by which nginx chooses its error pages (nginx.conf.template, $error_format)."""
    accept = environ.get("HTTP_ACCEPT", "")
    return "text/html" not in accept and "json" in accept + environ.get("CONTENT_TYPE", "")


def busy(environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
    """Status, headers and body."""
    kind, page = _JSON if wants_json(environ) else _HTML
    headers = [("Content-Type", kind), ("Content-Length", str(len(page))), ("Retry-After", "5")]
    return "503 Service Unavailable", headers, page


def answer_busy(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    status, headers, page = busy(environ)
    start_response(status, headers)
    return [page]
