"""When the disk for bodies is full, requests that need it are answered 503 with Retry-After, as JSON or HTML."""

import shutil
from collections.abc import Callable

import pytest
import requests

from tests.stack.edge import Edge

pytestmark = pytest.mark.stack


def test_bodies_that_find_no_room_are_refused_and_small_requests_are_served(edge: Callable[..., Edge]) -> None:
    stack = edge()
    # nginx answers in the same way when the folder is missing as when the disk is full, and a test can remove a folder.
    shutil.rmtree(stack.run / "nginx/body")
    for size in (500_000, 5_000_000):
        answer = requests.post(stack.url, data=b"x" * size, headers={"Content-Type": "application/json"}, timeout=30)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["error"] == "busy"
        page = requests.post(stack.url, data=b"x" * size, headers={"Accept": "text/html"}, timeout=30)
        assert (page.status_code, "<h1>The site is busy</h1>" in page.text) == (503, True)
    assert requests.post(stack.url, data=b"x" * 10_000, timeout=30).status_code == 200
    assert stack.get().status_code == 200
    (stack.run / "nginx/body").mkdir()
    assert requests.post(stack.url, data=b"x" * 500_000, timeout=30).json()["size"] == 500_000
