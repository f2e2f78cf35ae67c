"""Under overload the stack refuses what is too much and what has waited too long, and drops what a client has left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import requests

from lowtide import memory
from tests.stack.edge import Edge, wait_until

pytestmark = pytest.mark.stack
Start = Callable[..., Edge]


def ask(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def test_requests_of_clients_that_have_left_are_not_served(edge: Start) -> None:
    stack = edge()
    impatient = [stack.client(ask("/?sleep=0.5&name=impatient")) for _ in range(50)]
    wait_until("the first is served", stack.served)
    for connection in impatient:
        connection.close()
    assert stack.get("/?name=patient").status_code == 200
    names = stack.served()
    assert names[-1] == "patient"
    # The request in flight, and a second one if the client closed the connection late.
    assert len(names) <= 3
    assert '"event": "shed"' in stack.log("uwsgi")


@pytest.mark.parametrize("large", [False, True])
def test_what_waited_longer_than_it_is_worth_is_refused(edge: Start, large: bool) -> None:
    stack = edge(QUEUE_S="1")
    send = stack.large if large else stack.get
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(send, "/?sleep=3&name=first")
        wait_until("the worker is busy", stack.served)
        waiting = [pool.submit(send, "/?name=late", headers={"Accept": "application/json"}) for _ in range(4)]
        page = pool.submit(send, "/?name=late", headers={"Accept": "text/html"})
        assert first.result().status_code == 200
        answers = [one.result() for one in waiting]
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "5")}
    assert answers[0].json()["error"] == "busy"
    assert "<h1>The site is busy</h1>" in page.result().text
    assert stack.served() == ["first"]
    assert send("/?name=after").status_code == 200


def test_what_is_too_much_is_refused_at_once(edge: Start) -> None:
    stack = edge(CLIENT_IN_FLIGHT="1000")
    with ThreadPoolExecutor(120) as pool:
        answers = [pool.submit(stack.get, "/?sleep=0.1&name=small") for _ in range(120)]
        wait_until("some are refused", lambda: sum(one.done() for one in answers) >= 50)
        # Far more requests are refused than can have been served in that time.
        assert len(stack.served()) < 40
        statuses = [one.result().status_code for one in answers]
    assert statuses.count(200) == len(stack.served()) >= 64
    assert set(statuses) == {200, 503}


def test_liveness_does_not_wait_behind_requests(edge: Start) -> None:
    stack = edge(SMALL_IN_FLIGHT="4")
    with ThreadPoolExecutor(20) as pool:
        stalled = [pool.submit(stack.get, "/?sleep=3&name=stalled") for _ in range(20)]
        wait_until("four wait, the others were refused", lambda: sum(one.done() for one in stalled) == 16)
        refused = stack.get("/readyz", timeout=2)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        alive = stack.get("/healthz", timeout=5)
        assert (alive.status_code, alive.text) == (200, "busy\n")
        assert sum(one.result().status_code == 200 for one in stalled) == 4
    assert "environ" in stack.get("/healthz").json()


def ping(stack: Edge) -> int:
    """The result of the container's health check."""
    return subprocess.run([sys.executable, "-m", "lowtide.ping", "/healthz"], env=stack.environment).returncode


def test_a_container_whose_workers_are_all_busy_is_healthy(edge: Start) -> None:
    stack = edge()
    assert ping(stack) == 0
    with stack.client(ask("/?sleep=20&name=stalled")):
        wait_until("the worker is busy", stack.served)
        assert ping(stack) == 0


def test_one_whose_workers_hang_with_nothing_to_do_is_not(edge: Start) -> None:
    stack = edge()
    pid = stack.workers()[0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    assert ping(stack) == 1


def test_an_application_that_is_gone_is_not_alive(edge: Start) -> None:
    stack = edge()
    stack.processes.pop("uwsgi").kill()
    wait_until("nobody answers", lambda: requests.get(f"{stack.url}/healthz", timeout=10).status_code >= 502)


def served_a_second(stack: Edge, clients: int, seconds: float, patience: float) -> tuple[float, set[int]]:
    """How many answers a second clients get that ask again and again, and every status that they got."""
    end = time.monotonic() + seconds

    def ask(_: int) -> list[int]:
        statuses = []
        while time.monotonic() < end:
            with suppress(requests.Timeout):
                statuses.append(stack.get("/?sleep=0.05", timeout=patience).status_code)
                if statuses[-1] == 503:
                    # Retry-After says 5 s, but these clients do not wait that long.
                    time.sleep(0.5)
        return statuses

    with ThreadPoolExecutor(clients) as pool:
        statuses = [status for answers in pool.map(ask, range(clients)) for status in answers]
    return statuses.count(200) / seconds, set(statuses)


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=pytest.mark.night)])
def test_ten_times_the_load_takes_nothing_from_what_is_served(edge: Start, seconds: float) -> None:
    stack = edge(SMALL_IN_FLIGHT="16")
    usual, statuses = served_a_second(stack, 4, seconds / 2, 10)
    assert statuses == {200}
    master = stack.processes["uwsgi"].pid
    before_mb = memory.tree_pss_mb(master)
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(served_a_second, stack, 40, seconds, 2)
        most_mb = before_mb
        while not load.done():
            most_mb = max(most_mb, memory.tree_pss_mb(master))
            time.sleep(0.2)
        # A queue of 16 takes 0.8 s. A client that waits for less than that would leave while its request is served.
        overloaded, statuses = load.result()
    print(f"served {usual:.0f} and {overloaded:.0f} a second, memory {before_mb:.0f} and {most_mb:.0f} MiB")
    assert statuses <= {200, 503}
    assert overloaded >= 0.8 * usual
    assert most_mb < 1.5 * before_mb
    # What waits when the load ends is served within a second, so that the next request is answered as before.
    assert stack.get("/healthz").json()["pid"]


def test_a_429_of_the_application_says_when_to_come_back(edge: Start) -> None:
    answer = edge().get("/?status=429 Too Many Requests")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
