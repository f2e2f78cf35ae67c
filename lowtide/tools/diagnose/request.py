"""Sends a request to a WSGI application in this process as a server does: reads the response and closes it."""

import io
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import setup_testing_defaults

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Request:
    """The request to send.

    Attributes:
        path: path and query string; `{n}` becomes the number of the request, from 1.
        body: a file, or None for no body.
        headers: pairs of name and value.
        https: whether the request came by HTTPS.
    """

    path: str
    method: str = "GET"
    body: str | None = None
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    https: bool = False

    def environ(self, number: int) -> dict[str, Any]:
        """The environ of request `number` (PEP 3333). Its wsgi.input, the body's file, is the caller's to close."""
        path, _, query = self.path.replace("{n}", str(number)).partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "CONTENT_TYPE": self.content_type,
            "wsgi.url_scheme": "https" if self.https else "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": sys.stderr,
        }
        setup_testing_defaults(environ)
        if self.body is not None:
            environ["CONTENT_LENGTH"] = str(Path(self.body).stat().st_size)
            # The body is read from a file, so that the measuring does not add its bytes to the memory it measures.
            environ["wsgi.input"] = Path(self.body).open("rb")  # noqa: SIM115
        for name, value in self.headers:
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        return environ

    def send(self, application: Application, number: int) -> str:
        """Send request `number`; returns the response's status line.

        Raises whatever the application raises.
        """
        return _answered(application, self.environ(number))


class _Status:
    """A start_response that remembers the status line."""

    line = ""

    def __call__(self, line: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        self.line = line
        return len


def _answered(application: Application, environ: dict[str, Any]) -> str:
    """Call the application and read its response to the end. Returns the status line.

    What stands above the application is short on purpose: at each allocation tracemalloc looks up the line of every
    frame, which takes as long as the function has code up to there.
    """
    status = _Status()
    with environ["wsgi.input"]:
        body = application(environ, status)
        try:
            for _ in body:
                pass
        finally:
            if close := getattr(body, "close", None):
                close()
    return status.line
