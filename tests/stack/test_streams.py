"""A streamed answer that breaks off is an error for its client, and one that is complete is not."""

from collections.abc import Callable

import pytest
import requests

from tests.stack.edge import Edge

pytestmark = pytest.mark.stack
Start = Callable[..., Edge]
SIZE = 2 * 2**20


def test_a_stream_that_breaks_off_is_an_error(edge: Start) -> None:
    """The worker is killed, the application raises an error, or it meets its ceiling, when all but the end is sent."""
    stack = edge(WORKER_CEILING="100")
    for send in (stack.get, stack.large):
        for buffered in ("", "&unbuffered=1"):
            path = f"/?bytes={SIZE}{buffered}"
            for ends in ("killed", "raises", "memory"):
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    print(ends, buffered, len(send(f"{path}&ends={ends}").content))
            assert len(send(path).content) == SIZE


def test_an_error_before_the_first_part_is_a_page(edge: Start) -> None:
    stack = edge()
    for send in (stack.get, stack.large):
        answer = send("/?bytes=0&ends=raises", headers={"Accept": "application/json"})
        assert (answer.status_code, answer.json()["status"]) == (502, 502)


def test_what_is_not_to_be_buffered_arrives_at_once(edge: Start) -> None:
    stack = edge()
    with stack.get("/?bytes=65536&ends=waits&unbuffered=1", stream=True) as answer:
        assert len(answer.raw.read(65536, decode_content=True)) == 65536
        assert stack.busy() == 1
