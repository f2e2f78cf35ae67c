"""A stop loses no request and does not wait for slow clients; queued requests are answered 503 with Retry-After."""

import os
import signal
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
UPLOAD = "POST /?name=upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2000000\r\nConnection: close\r\n\r\n"


def is_refused(stack: Edge) -> bool:
    with suppress(OSError), stack.client():
        return False
    return True


def begin_stop(stack: Edge, name: str, number: int) -> None:
    stack.processes[name].send_signal(number)


def test_nginx_serves_what_it_has_before_it_stops(edge: Start) -> None:
    """Requests in flight, requests in the queue, and an upload that is not complete."""
    stack = edge()
    upload = stack.client(UPLOAD + "x" * 1_000_000)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(stack.get, "/?sleep=0.2&name=queued") for _ in range(20)]
        wait_until("one is served", stack.served)
        time.sleep(0.3)
        begin_stop(stack, "nginx", signal.SIGQUIT)
        wait_until("nobody new gets in", lambda: is_refused(stack))
        upload.sendall(b"x" * 1_000_000)
        assert {one.result().status_code for one in answers} == {200}
    assert upload.makefile().readline().split()[1] == "200"
    assert stack.processes["nginx"].wait(30) == 0
    assert stack.served().count("queued") == 20


def test_nobody_who_is_slow_delays_a_stop(edge: Start) -> None:
    """nginx waits until the application has answered, but not for a client that sends its bytes one by one."""
    stack = edge()
    half = [stack.client(UPLOAD + "x"), stack.client("GET / HTTP/1.1\r\nHo")]
    unread = stack.client("GET /?bytes=50000000&name=unread HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    wait_until("it is answered", lambda: stack.served() and not stack.busy())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stack.get, "/?sleep=6&name=running")
        wait_until("it runs", lambda: "running" in stack.served())
        begin_stop(stack, "nginx", signal.SIGQUIT)
        assert running.result().status_code == 200
        # No request is left to answer. That takes far less than the 60 s that a slow client could take.
        assert stack.processes["nginx"].wait(20) == 0
    for connection in (*half, unread):
        connection.close()


def test_an_nginx_that_dies_while_it_stops_says_how_it_ended(edge: Start) -> None:
    stack = edge()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stack.get, "/?sleep=5&name=running")
        wait_until("it runs", stack.served)
        begin_stop(stack, "nginx", signal.SIGQUIT)
        wait_until("nobody new gets in", lambda: is_refused(stack))
        os.kill(stack.nginx_pids()[1], signal.SIGKILL)
        assert stack.processes["nginx"].wait(30) == 128 + signal.SIGKILL
        running.exception()


def test_nginx_leaves_nothing_behind(edge: Start) -> None:
    stack = edge()
    pids = stack.nginx_pids()
    os.kill(pids[1], signal.SIGKILL)
    stack.processes["nginx"].wait(20)
    wait_until("all of it is gone", lambda: not any(memory.tree(pid) for pid in pids))
    stack.begin_nginx()
    wait_until("it is back", stack.answers)


def test_a_reload_of_nginx_loses_nothing(edge: Start) -> None:
    stack = edge()
    statuses: list[object] = []

    def ask(_: int) -> None:
        for number in range(60):
            try:
                statuses.append(requests.post(stack.url, data=b"x" * number * 1000, timeout=30).status_code)
            except requests.RequestException as error:
                statuses.append(repr(error))

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask, number) for number in range(8)]
        for _ in range(5):
            time.sleep(0.2)
            begin_stop(stack, "nginx", signal.SIGHUP)
        for one in asking:
            one.result()
    assert set(statuses) == {200}
    assert len(statuses) == 480


@pytest.mark.parametrize("busy", ["small", "both"])
def test_whoever_waits_at_a_uwsgi_that_stops_is_told_to_come_back(edge: Start, busy: str) -> None:
    stack = edge(WORKERS="3", LARGE_WORKERS="1")
    with ThreadPoolExecutor(80) as pool:
        running = [pool.submit(stack.get, "/?sleep=5&name=running") for _ in range(2)]
        if busy == "both":
            running.append(pool.submit(stack.large, "/?sleep=5&name=running"))
        wait_until("they run", lambda: len(stack.served()) == len(running))
        queued = [pool.submit(stack.get, "/?name=queued", headers={"Accept": "application/json"}) for _ in range(40)]
        uploads = [
            pool.submit(requests.post, f"{stack.url}/?name=queued", data=b"x" * 500_000, timeout=60) for _ in range(10)
        ]
        time.sleep(1)
        begin_stop(stack, "uwsgi", signal.SIGTERM)
        # The idle worker of the other pool answers them, or a busy one, long before the running requests are done.
        wait_until("they are told", lambda: all(one.done() for one in (*queued, *uploads)))
        assert not any(one.done() for one in running)
        answers = [one.result() for one in (*queued, *uploads)]
        assert {one.result().status_code for one in running} == {200}
    assert {(answer.status_code, answer.headers.get("Retry-After")) for answer in answers} == {(503, "5")}
    assert answers[0].json()["error"] == "busy"
    assert "queued" not in stack.served()
    stack.processes.pop("uwsgi").wait(20)
    later = stack.get(headers={"Accept": "application/json"})
    assert (later.status_code, later.headers["Retry-After"], later.json()["error"]) == (503, "5", "busy")


def test_a_worker_that_dies_with_a_request_is_a_friendly_502(edge: Start) -> None:
    stack = edge()
    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(stack.get, "/?sleep=20&name=cut", headers={"Accept": "application/json"})
        wait_until("it runs", stack.served)
        os.kill(stack.workers()[0]["pid"], signal.SIGKILL)
        assert (cut.result().status_code, cut.result().json()["error"]) == (502, "bad_gateway")
    assert stack.get().status_code == 200
    # nginx does not send the request a second time, because it may have changed something.
    assert stack.served() == ["cut"]


def test_a_master_that_is_killed_leaves_nobody_and_its_successor_serves(edge: Start) -> None:
    stack = edge(WORKERS="3")
    workers = [worker["pid"] for worker in stack.workers()]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(stack.get, "/?sleep=2&name=running")
        wait_until("it runs", stack.served)
        stack.processes.pop("uwsgi").kill()
        # In a container the workers would be killed with the master. Elsewhere they must not go on serving without one.
        assert running.result().status_code == 502
        wait_until("the old workers have ended", lambda: not any(memory.tree(pid) for pid in workers))
        away = stack.get()
        assert (away.status_code, away.headers["Retry-After"]) == (503, "5")
        # A supervisor would start it again in this way.
        stack.begin_uwsgi()
        wait_until("the successor serves", stack.answers)
    assert {stack.get().status_code for _ in range(50)} == {200}
