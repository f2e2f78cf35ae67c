"""How a request's body is read. What happens after the response is in test_give_back.py."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from lowtide.wsgi import PART_BYTES, Body, read_in_parts


class Asked(io.BytesIO):
    """A body that notes how much of it was asked for at a time."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.sizes: list[int] = []

    def read(self, size: int | None = -1) -> bytes:
        self.sizes.append(-1 if size is None else size)
        return super().read(size)


@pytest.mark.parametrize("size", [None, -1, 0, 1, PART_BYTES, PART_BYTES + 1, 300_000, 1_000_000])
def test_a_body_is_read_whole_but_in_parts(size: int | None) -> None:
    content = os.urandom(300_000)
    asked = Asked(content)
    assert Body(asked).read(size) == io.BytesIO(content).read(size)
    assert all(0 <= part <= PART_BYTES for part in asked.sizes)


def test_what_else_a_body_does_is_left_to_it() -> None:
    body = Body(io.BytesIO(b"one\ntwo\nthree\nfour"))
    assert body.readline() == b"one\n"
    assert next(iter(body)) == b"two\n"
    assert body.readlines() == [b"three\n", b"four"]


def test_only_requests_with_a_body_are_wrapped() -> None:
    seen: list[object] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        seen.append(environ["wsgi.input"])
        return [b""]

    plain = io.BytesIO(b"{}")
    for length in ("", "2"):
        read_in_parts(application)({"CONTENT_LENGTH": length, "wsgi.input": plain}, lambda *_: None)
    assert seen[0] is plain
    assert isinstance(seen[1], Body)
