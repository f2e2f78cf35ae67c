"""`make replace`: a new container of the application takes the place of the old one under load."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from stack import Failed
from tests import described
from tests.container.stack import Stack

pytestmark = pytest.mark.container
Answers = Counter[object]


@contextmanager
def load(stack: Stack, body: bytes) -> Iterator[Answers]:
    """Small and large requests without a pause; what they were answered."""
    answers: Answers = Counter()
    over = threading.Event()
    large = described.large()

    def ask(send: Callable[[], requests.Response]) -> None:
        while not over.is_set():
            try:
                answers[send().status_code] += 1
            except requests.RequestException as error:
                answers[repr(error)] += 1

    def import_() -> requests.Response:
        return requests.request(
            large.method, stack.url + large.path, data=body, headers=described.headers(large), timeout=90
        )

    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(ask, send) for send in (*[lambda: stack.get(described.PAGE)] * 4, import_, import_)]
        try:
            yield answers
        finally:
            over.set()
        for client in clients:
            client.result()


def container(stack: Stack) -> str:
    ids = stack.compose("ps", "--all", "--quiet", "app").stdout.split()
    assert len(ids) == 1
    return ids[0]


def test_no_request_is_refused(healthy: Stack, feed: bytes) -> None:
    first = container(healthy)
    healthy.env["LOG_LEVEL"] = "WARNING"
    with load(healthy, feed) as answers:
        assert "was replaced" in healthy.replace()
    print(f"replaced: {dict(answers)}")
    assert healthy.execute("app", "printenv", "LOG_LEVEL").stdout.strip() == "WARNING"
    assert set(answers) == {200}
    # It has the place of the first: its figures, its health, and nothing of its start beside it is left.
    assert healthy.inspect("app")["State"]["Health"]["Status"] == "healthy"
    assert healthy.execute("app", "bash", "-c", "cd /run/lowtide; ls -d */").stdout.split() == ["nginx/", "static/"]
    assert "workers" in healthy.python(
        "from lowtide.sample import stats; print(stats('/run/lowtide/stats.sock').keys())"
    )
    # `make up` finds what it would have made, and leaves it.
    last = container(healthy)
    healthy.up()
    assert container(healthy) == last != first


def test_files_of_the_new_version_are_served(stack: Stack) -> None:
    """The image of nginx has the files of the version with which it was built."""
    stack.execute(
        "app", "bash", "-c", "mkdir -p /run/lowtide/static && echo new >/run/lowtide/static/new.0123456789ab.css"
    )
    try:
        answer = stack.get("/static/new.0123456789ab.css")
        assert (answer.status_code, answer.text) == (200, "new\n")
        assert answer.headers["Content-Type"].startswith("text/css")
        assert answer.headers["Cache-Control"] == described.STATIC_CACHE
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert stack.get(described.stylesheet(stack.get(described.PAGE).text)).status_code == 200
        assert stack.get("/static/missing.css").status_code == 404
        assert stack.get("/static/../small.sock").status_code == 404
    finally:
        stack.execute("app", "rm", "-rf", "/run/lowtide/static")


@pytest.mark.night
def test_a_version_that_does_not_start_replaces_nothing(healthy: Stack, feed: bytes) -> None:
    before = container(healthy)
    healthy.env["WORKERS"] = "none"
    with load(healthy, feed) as answers, pytest.raises(Failed, match="the old one serves on"):
        healthy.replace()
    assert container(healthy) == before
    assert set(answers) == {200}
    assert healthy.execute("app", "bash", "-c", "cd /run/lowtide; ls -d */").stdout.split() == ["nginx/"]
