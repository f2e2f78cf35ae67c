"""Each reason for a recycle, provoked on a real uWSGI with the uwsgi.ini that ships, and that workers take turns."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stack.bare import Serve, Server
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack


def test_requests(serve: Serve) -> None:
    server = serve("--max-requests", "5")
    for _ in range(5):
        server.get("/")
    event = server.replaced()[0]
    assert (event.event, event.worker) == ("requests", 1)
    assert ", 5 requests," in event.detail


def test_rss(serve: Serve) -> None:
    server = serve(RELOAD_ON_RSS="90")
    server.get("/hold")
    assert server.replaced()[0].event == "rss"


def test_lifetime(serve: Serve) -> None:
    assert serve("--max-worker-lifetime", "1").replaced()[0].event == "lifetime"


def test_idle(serve: Serve) -> None:
    """20 MiB that stay are too little for reload-on-rss, but an idle worker that holds them is replaced."""
    server = serve()
    server.get("/keep")
    event = server.replaced()[0]
    assert event.event == "idle"
    assert ", 2 requests," in event.detail


def test_what_comes_back_in_the_successor_is_needed(serve: Serve) -> None:
    """If an application loads 30 MiB on its first request, that must not cost a worker after each pause."""
    server = serve()
    server.get("/load")
    server.replaced()
    for _ in range(3):
        server.get("/load")
        time.sleep(5)
    assert [event.event for event in server.replaced()] == ["idle"]


def test_health_checks_are_no_use(serve: Serve) -> None:
    server = serve()
    server.get("/keep")
    over = time.monotonic() + 15
    while time.monotonic() < over and '"idle"' not in server.log():
        server.get("/alive")
        time.sleep(0.5)
    assert '"idle"' in server.log()


def test_an_idle_worker_that_kept_nothing_stays(serve: Serve) -> None:
    server = serve()
    pids = server.pids()
    time.sleep(6)
    assert server.pids() == pids


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_signal(serve: Serve, number: int) -> None:
    server = serve()
    # Between the answer and the end of a request, uWSGI lets a worker leave without calling lowtide, so nothing is
    # logged.
    wait_until("it is idle", lambda: server.workers()[0]["status"] == "idle")
    os.kill(server.pids()[0], number)
    assert server.replaced()[0].event == "signal"


def test_hung(serve: Serve) -> None:
    server = serve("--harakiri", "1")
    server.get("/hang")
    assert server.replaced()[0].event == "hung"


def test_died(serve: Serve) -> None:
    server = serve()
    pid = server.pids()[0]
    server.get("/die")
    event = server.replaced()[0]
    assert event.event == "died"
    assert f"pid {pid}," in event.detail


def test_nobody_is_recycled_without(serve: Serve) -> None:
    server = serve(WORKER_MANAGEMENT="without", RELOAD_ON_RSS="1")
    pids = server.pids()
    for _ in range(1200):
        server.get("/")
    server.get("/hold")
    time.sleep(6)
    assert server.pids() == pids


def test_the_articles_thousand_requests(serve: Serve) -> None:
    """With the article's values a worker must first be 10 s old (min-worker-lifetime); as shipped it need not."""
    server = serve("--min-worker-lifetime", "0", WORKER_MANAGEMENT="article")
    for _ in range(1001):
        server.get("/")
    event = server.replaced()[0]
    assert event.event == "requests"
    assert ", 1000 requests," in event.detail


def drive(server: Server, enough: Callable[[], bool], path: str = "/") -> None:
    """Eight clients ask until the condition holds; after a minute the test fails."""
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            server.get(path)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        deadline = time.monotonic() + 60
        while not enough():
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.02)
    finally:
        over.set()
        for client in clients:
            client.join(30)


def test_equal_limits_and_a_slow_import_take_all_workers_away(serve: Serve) -> None:
    options = ("--lazy-apps", "--max-requests", "300", "--max-requests-delta", "0")
    server = serve(*options, WORKERS="4", IMPORT_SECONDS="2")
    drive(server, lambda: server.serving() == 0)


def test_rss_with_a_slow_import_takes_all_workers_away(serve: Serve) -> None:
    server = serve("--lazy-apps", RELOAD_ON_RSS="90", WORKERS="4", IMPORT_SECONDS="2")
    drive(server, lambda: server.serving() == 0, "/hold")


@pytest.mark.parametrize("delta", [(), ("--max-requests-delta", "0")])
def test_in_what_ships_never_two_are_away_at_once(serve: Serve, delta: tuple[str, ...]) -> None:
    server = serve("--max-requests", "150", *delta, WORKERS="4", IMPORT_SECONDS="2")
    drive(server, lambda: len(server.away()) >= 8)
    assert server.most_away() == 1


def test_nor_when_every_request_reaches_reload_on_rss(serve: Serve) -> None:
    server = serve(RELOAD_ON_RSS="90", WORKERS="4", IMPORT_SECONDS="2")
    drive(server, lambda: len(server.away()) >= 8, "/hold")
    assert server.most_away() == 1


def test_a_stop_while_the_application_loads_is_heard(serve: Serve) -> None:
    """uWSGI alone ignores SIGTERM while it loads, and would come up and stay."""
    with pytest.raises(AssertionError) as ended:
        serve(STOP_AT_IMPORT="1")
    assert "python threads support enabled" in str(ended.value)
    assert "spawned uWSGI" not in str(ended.value)


def caught(pid: int) -> int:
    """The signals that a process handles, as bits (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return int(mask, 16)


def test_the_master_is_woken_by_the_end_of_a_worker(serve: Serve) -> None:
    server = serve()
    bit = 1 << (signal.SIGCHLD - 1)
    assert caught(server.master) & bit
    assert not caught(server.pids()[0]) & bit


def test_without_wake_master_it_is_as_uwsgi_comes(serve: Serve) -> None:
    assert not caught(serve(WAKE_MASTER="0").master) & 1 << (signal.SIGCHLD - 1)
