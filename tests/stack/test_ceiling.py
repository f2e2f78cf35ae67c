"""A request that takes memory without end is answered 503, its worker is replaced, and other requests are served."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lowtide import memory
from tests.stack.edge import Edge, wait_until

pytestmark = pytest.mark.stack
CEILING_MB = 100


@pytest.mark.parametrize("way", ["objects", "bytes", "kept", "page", "stream"])
def test_the_worker_that_grows_is_replaced_and_others_serve_on(edge: Callable[..., Edge], way: str) -> None:
    stack = edge(WORKERS="3", WORKER_CEILING=str(CEILING_MB))
    over = threading.Event()
    statuses: list[int] = []
    peaks: list[float] = []

    def neighbour() -> None:
        while not over.is_set():
            statuses.append(stack.get("/?name=neighbour").status_code)
            with suppress(FileNotFoundError, ProcessLookupError):  # a worker that is being replaced
                peaks.append(max(memory.rss_mb(pid) for pid in memory.tree(stack.processes["uwsgi"].pid)))

    asker = threading.Thread(target=neighbour)
    asker.start()
    try:
        for _ in range(5):
            pid = stack.workers()[2]["pid"]
            answer = stack.large(f"/?grow={way}", headers={"Accept": "application/json"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            assert answer.json()["error"] == "busy"
            wait_until("it has a successor", lambda: stack.workers()[2]["pid"] not in (0, pid))  # noqa: B023
    finally:
        over.set()
        asker.join()
    assert set(statuses) == {200}
    # The size of an idle worker, how far it may grow, and what it may take beyond that to answer 503.
    assert max(peaks) < 50 + CEILING_MB + 32
    assert '"reason": "ceiling"' in stack.log("uwsgi")


def data_limit(stack: Edge) -> str:
    limits = Path(f"/proc/{stack.workers()[0]['pid']}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max data size"))
    return line.split()[3]


def test_it_can_be_switched_off(edge: Callable[..., Edge]) -> None:
    assert data_limit(edge(WORKER_CEILING="100")) != "unlimited"
    assert data_limit(edge(WORKER_CEILING="off")) == "unlimited"
