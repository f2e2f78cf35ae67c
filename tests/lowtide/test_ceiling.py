"""A request that fails for lack of memory is answered 503, whenever the application says that it failed."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import pytest

from lowtide import ceiling
from lowtide.wsgi import Application


@pytest.fixture(autouse=True)
def met(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has a ceiling and has met it."""
    monkeypatch.setattr(ceiling._process, "room_mb", 100.0)
    monkeypatch.setattr(ceiling._process, "met", True)


def answered(application: Application) -> tuple[list[str], bytes]:
    """The statuses that the server was given, and the body."""
    statuses: list[str] = []

    def start_response(status: str, *_: Any) -> None:
        statuses.append(status)

    return statuses, b"".join(ceiling.bounded(application)({}, start_response))


@pytest.mark.parametrize("parts", [[b"an error page"], []])
def test_an_application_that_fails_while_it_is_iterated(parts: list[bytes]) -> None:
    closed = []

    def application(_: Any, start_response: Any) -> Iterator[bytes]:
        try:
            start_response("500 Internal Server Error", [])
            yield from parts
        finally:
            closed.append(True)

    statuses, body = answered(application)
    assert statuses == ["503 Service Unavailable"]
    assert b"The site is busy" in body
    assert b"an error page" not in body
    assert closed


def test_a_failure_after_the_first_part_reaches_the_server() -> None:
    def application(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        error: tuple[type[Exception], Exception, TracebackType | None] = (ValueError, ValueError(), None)
        start_response("500 Internal Server Error", [], error)

    statuses, body = answered(application)
    assert statuses == ["200 OK", "500 Internal Server Error"]
    assert body == b"one"
