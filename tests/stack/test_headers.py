"""Only nginx limits headers: uWSGI accepts whatever nginx lets through."""

from collections.abc import Callable

import pytest

from tests.stack.edge import Edge

pytestmark = pytest.mark.stack
TINY = "".join(f"{chr(97 + number // 26 % 26)}{chr(97 + number % 26)}:\r\n" for number in range(4500))


def status(stack: Edge, path: str, headers: str) -> int:
    with stack.client(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n") as connection:
        return int(connection.makefile().readline().split()[1])


def test_no_header_gets_past_nginx_that_is_too_much_for_uwsgi(edge: Callable[..., Edge]) -> None:
    stack = edge()
    answers = {}
    for path in (1, 4000, 8000, 8100, 9000):
        for count in range(5):
            for size in (7000, 8000, 8100, 8190, 9000):
                headers = "".join(f"X-{number}: {'a' * (size - 7)}\r\n" for number in range(count))
                answers[path, count, size] = status(stack, f"/?{'a' * path}", headers)
    assert set(answers.values()) <= {200, 400, 414}
    assert answers[8000, 1, 8000] == answers[1, 2, 8100] == 200
    assert answers[9000, 0, 7000] == 414
    assert answers[8100, 3, 8100] == 400


def test_nor_do_many_small_ones(edge: Callable[..., Edge]) -> None:
    stack = edge()
    for letters in (1000, 10_000, 16_000, 20_000, 24_000, 24_500, 25_000):
        assert status(stack, "/", TINY[: letters // 5 * 5]) in (200, 400), letters
    short = "".join(f"{chr(97 + number % 26)}:\r\n" for number in range(6100))
    for letters in (20_000, 23_000, 24_000, 24_400):
        assert status(stack, "/", short[: letters // 4 * 4]) in (200, 400), letters
    assert status(stack, f"/{'a' * 7900}", short[:15_000]) in (200, 400)
    # Debian's nginx accepts at most 1000 headers, others accept as many as fit.
    assert status(stack, "/", TINY[:4500]) == 200
