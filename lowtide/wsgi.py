"""Middleware for any WSGI server: calls back when a response is done, after its memory is free.

    from lowtide.wsgi import give_back
    application = give_back(application)

The callback runs in the response's close(), which PEP 3333 has the server call when the body is sent. uWSGI reads RSS
for reload-on-rss after that (core/utils.c:1082), so a request whose memory was given back does not recycle its worker.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from lowtide.give_back import DEFAULT_THRESHOLD_MB, GiveBack

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
PART_BYTES = 64 * 1024


class _Response:
    """The application's response; close() closes it, lets go of it, and then calls back."""

    def __init__(self, body: Iterable[bytes], done: Callable[[], object]) -> None:
        self._body: Iterable[bytes] | None = body
        self._chunks: Iterator[bytes] | None = iter(body)
        self._done = done

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            raise StopIteration
        return next(self._chunks)

    def close(self) -> None:
        body, self._body, self._chunks = self._body, None, None
        if body is None:
            return
        try:
            if close := getattr(body, "close", None):
                close()
                del close
        finally:
            # The response holds the request, and the request its body: free before the callback looks.
            del body
            self._done()


class AfterResponse:
    """A WSGI application that calls `done` after each response of `application`, and `begin` before, with environ."""

    def __init__(
        self, application: Application, done: Callable[[], object], begin: Callable[[Environ], object] | None = None
    ) -> None:
        self.application = application
        self._done = done
        self._begin = begin

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._begin:
            self._begin(environ)
        try:
            body = self.application(environ, start_response)
        except BaseException:
            self._done()
            raise
        # What wsgi.file_wrapper made must reach the server as it is, or it is not sent by sendfile.
        if hasattr(body, "read"):
            return body
        return _Response(body, self._done)


class Body:
    """wsgi.input, read in parts of PART_BYTES whatever is asked for."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int | None = -1) -> bytes:
        left = -1 if size is None else size
        if 0 <= left <= PART_BYTES:
            part: bytes = self._body.read(left)
            return part
        whole = io.BytesIO()
        while left and (part := self._body.read(min(left, PART_BYTES) if left > 0 else PART_BYTES)):
            whole.write(part)
            left -= len(part) if left > 0 else 0
        return whole.getvalue()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def read_in_parts(application: Application) -> Application:
    """The application, with request bodies read in parts.

    For uWSGI: it copies as much as it is asked for into a buffer of its own, and keeps that until the request is over
    (core/reader.c, post_read_buf), so a body that is read at once is there twice.
    """

    def reading(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"] = Body(environ["wsgi.input"])
        return application(environ, start_response)

    return reading


def read_to_the_end(application: Application) -> Application:
    """The application; what it leaves of a body is read and dropped before its answer is sent.

    nginx sends no more of a body once the answer begins, and takes a connection that is closed with something unread in
    it for broken: who refuses an upload at its first bytes would often be a 502. An answer that streams is let alone,
    it may still read.
    """

    def finishing(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH") in (None, "", "0"):
            return application(environ, start_response)
        body, whole = environ["wsgi.input"], False

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            nonlocal whole
            whole = status >= "4" or any(name.lower() == "content-length" for name, _ in headers)
            return start_response(status, headers, *error)

        answer = application(environ, start)
        if whole:
            with suppress(OSError):
                while body.read(PART_BYTES):
                    pass
        return answer

    return finishing


def give_back(application: Application, threshold_mb: float = DEFAULT_THRESHOLD_MB) -> Application:
    """The application, with heap given back after each response that made the process grow by `threshold_mb` MiB.

    What the server itself frees only then, such as its copy of the response, goes back after the next one.
    """
    back = GiveBack(threshold_mb)

    def done() -> None:
        if not back():
            back.rest()

    return AfterResponse(application, done)
