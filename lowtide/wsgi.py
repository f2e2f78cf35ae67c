"""Middleware for any WSGI server: calls a function when a response is finished and its memory has been freed.

    from lowtide.wsgi import give_back
    application = give_back(application)

The function runs in the response's close(), which the server calls when the body is sent (PEP 3333). uWSGI reads RSS
for reload-on-rss after that (core/utils.c:1082), so a worker that has given its memory back is not replaced.
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
    """The application's response. close() closes it, drops it, and then calls `done`; an error in it calls `broken`."""

    def __init__(
        self, body: Iterable[bytes], done: Callable[[], object], broken: Callable[[], object] | None = None
    ) -> None:
        self._body: Iterable[bytes] | None = body
        self._chunks: Iterator[bytes] | None = iter(body)
        self._done = done
        self._broken = broken

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._chunks is None:
            raise StopIteration
        try:
            return next(self._chunks)
        except StopIteration:
            raise
        except BaseException:
            if self._broken:
                self._broken()
            raise

    def close(self) -> None:
        body, self._body, self._chunks = self._body, None, None
        if body is None:
            return
        try:
            if close := getattr(body, "close", None):
                close()
                del close
        finally:
            # The response refers to the request, and the request to its body. They must be freed before the callback.
            del body
            self._done()


class AfterResponse:
    """A WSGI application that calls `begin` with environ before each request of `application`, and `done` after it.

    It calls `broken` when a response raises an error while its parts are sent.
    """

    def __init__(
        self,
        application: Application,
        done: Callable[[], object],
        begin: Callable[[Environ], object] | None = None,
        broken: Callable[[], object] | None = None,
    ) -> None:
        self.application = application
        self._done = done
        self._begin = begin
        self._broken = broken

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._begin:
            self._begin(environ)
        try:
            body = self.application(environ, start_response)
        except BaseException:
            self._done()
            raise
        # The server sends a wsgi.file_wrapper with sendfile only if it gets the object itself.
        if hasattr(body, "read"):
            return body
        return _Response(body, self._done, self._broken)


class Body:
    """wsgi.input, which is read in parts of PART_BYTES even where the application asks for more."""

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
    """Wrap the application so that request bodies are read in parts.

    This is for uWSGI, which copies what is read into a buffer of its own and keeps the buffer until the request ends
    (core/reader.c, post_read_buf): a body that is read in one piece would be in memory twice.
    """

    def reading(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"] = Body(environ["wsgi.input"])
        return application(environ, start_response)

    return reading


def read_to_the_end(application: Application) -> Application:
    """Wrap the application so that the unread rest of a body is read and dropped before the answer is sent.

    nginx stops sending a body when the answer begins, and answers 502 when the server closes a connection with unread
    data. So an application that refuses an upload at its first bytes would often be a 502. An answer that streams is
    left alone, because the application may still read the body.
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
    """Wrap the application so that heap is given back after each response that made the process grow by `threshold_mb`.

    Memory that the server itself frees only after that, such as its copy of the response, is given back after the next
    response.
    """
    giver = GiveBack(threshold_mb)

    def done() -> None:
        if not giver():
            giver.rest()

    return AfterResponse(application, done)
