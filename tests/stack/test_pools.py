"""Large requests run in workers of their own, a limited number at once, and do not hold up small requests."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import described
from tests.described import PAGE
from tests.stack.conftest import Stack, Start

pytestmark = pytest.mark.stack


def settled(stack: Stack) -> list[int]:
    """Requests of each worker, those of earlier tests included."""
    counts: list[int] = []
    for _ in range(50):
        before, counts = counts, stack.served()
        if before == counts:
            break
        time.sleep(0.1)
    return counts


def served_since(stack: Stack, before: list[int], count: int) -> list[int]:
    """How many requests each worker has served since then. Waits until these are `count` in all."""
    return [after - old for old, after in zip(before, stack.served(sum(before) + count), strict=True)]


def test_large_requests_go_to_the_large_pool(stack: Stack, feed: bytes) -> None:
    before = settled(stack)
    assert stack.post_large(feed).status_code == 200
    pages = described.large_pages()
    for row in pages:
        assert stack.get(row.path).status_code == row.status
    assert served_since(stack, before, 1 + len(pages)) == [0, 0, 0, 1 + len(pages)]


def test_a_body_of_unknown_length_is_large(stack: Stack, tmp_path: Path) -> None:
    before = settled(stack)
    assert stack.post_large(iter([described.large_body(tmp_path, records=1)])).status_code == 200
    assert served_since(stack, before, 1) == [0, 0, 0, 1]


def test_small_requests_go_to_the_small_pool(stack: Stack) -> None:
    before = settled(stack)
    for _ in range(12):
        assert stack.get(PAGE).status_code == 200
    since = served_since(stack, before, 12)
    assert (since[3], sum(since)) == (0, 12)


def test_a_full_large_pool_says_come_back_and_small_requests_do_not_wait(stack: Stack, feed: bytes) -> None:
    """Of 24 large requests at once one runs and five wait; two places are kept for clients with a token.

    The others are refused, and small requests are served meanwhile.
    """
    done = threading.Event()
    small: list[int] = []

    def ask_small() -> None:
        while not done.is_set() and len(small) < 5000:
            small.append(stack.get(PAGE).status_code)

    def ask_large(_: int) -> tuple[int, str | None, str]:
        answer = stack.post_large(feed)
        return answer.status_code, answer.headers.get("Retry-After"), answer.text

    asker = threading.Thread(target=ask_small)
    with ThreadPoolExecutor(24) as pool:
        asker.start()
        answers = list(pool.map(ask_large, range(24)))
        done.set()
    asker.join(60)
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 6
    refused = [(retry, text) for status, retry, text in answers if status == 503]
    assert {retry for retry, _ in refused} == {"5"}
    assert '"error": "busy"' in refused[0][1]
    assert set(small) == {200}
    # While one worker served the large requests one after the other, the small pool went on serving.
    assert len(small) > statuses.count(200)


def test_one_pool_serves_both(start: Start, feed: bytes) -> None:
    stack = start(LARGE_WORKERS="0")
    assert stack.post_large(feed).status_code == 200
    assert stack.get(PAGE).status_code == 200
    assert not (stack.var / "run/large.sock").exists()
