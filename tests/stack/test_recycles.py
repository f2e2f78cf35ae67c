"""Each reason for a recycle, provoked on a real uWSGI with the uwsgi.ini that ships; and that not all leave at once."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from loadtest import measure
from lowtide import memory, sample
from tests.stack.conftest import CHECKOUT, free_port

pytestmark = pytest.mark.stack


@dataclass
class Server:
    """A bare uWSGI with tests/stack/planted.py."""

    url: str
    folder: Path

    def get(self, path: str) -> None:
        """A request whose answer may never come."""
        with suppress(requests.RequestException):
            requests.get(self.url + path, timeout=10)

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in sample.stats(str(self.folder / "stats.sock"))["workers"]]

    def serving(self) -> int:
        """Workers that have loaded the application."""
        workers = sample.stats(str(self.folder / "stats.sock"))["workers"]
        return sum(worker["pid"] > 0 and bool(worker["apps"]) for worker in workers)

    def recycles(self, wait_s: float = 15) -> list[measure.Event]:
        """The recycles logged so far, waiting for the first."""
        deadline = time.monotonic() + wait_s
        while not (found := measure.recycles((self.folder / "log").read_text().splitlines(), 0)):
            if time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.05)
        return found


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:

        def begin(*options: str, **settings: str) -> Server:
            port = free_port()
            server = Server(f"http://127.0.0.1:{port}", Path(folder))
            environment = os.environ | {"RUN_DIR": folder, "WORKERS": "1", "LARGE_WORKERS": "0"} | settings
            environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            command = [sys.executable, "-m", "lowtide.start", "uwsgi", "--ini", str(CHECKOUT / "uwsgi.ini")]
            command += ["--module", "tests.stack.planted:application", "--http-socket", f"127.0.0.1:{port}", *options]
            with (Path(folder) / "log").open("wb") as log:
                running.append(subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log))
            for _ in range(200):
                try:
                    requests.get(server.url, timeout=10)
                    return server
                except requests.ConnectionError:
                    time.sleep(0.1)
            raise AssertionError((Path(folder) / "log").read_text())

        yield begin
        for process in running:
            for pid in memory.tree(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.wait(10)


def test_requests(serve: Serve) -> None:
    server = serve("--max-requests", "5")
    for _ in range(5):
        server.get("/")
    event = server.recycles()[0]
    assert (event.event, event.worker) == ("requests", 1)
    assert ", 5 requests," in event.detail


def test_rss(serve: Serve) -> None:
    server = serve(RELOAD_ON_RSS="90")
    server.get("/hold")
    assert server.recycles()[0].event == "rss"


def test_lifetime(serve: Serve) -> None:
    assert serve("--max-worker-lifetime", "1").recycles()[0].event == "lifetime"


def test_idle(serve: Serve) -> None:
    """20 MiB that stay are no case for reload-on-rss, but a worker that nobody needs starts anew."""
    server = serve()
    server.get("/keep")
    event = server.recycles()[0]
    assert event.event == "idle"
    assert ", 2 requests," in event.detail


def test_an_idle_worker_that_kept_nothing_stays(serve: Serve) -> None:
    server = serve()
    pids = server.pids()
    time.sleep(6)
    assert server.pids() == pids


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_signal(serve: Serve, number: int) -> None:
    server = serve()
    os.kill(server.pids()[0], number)
    assert server.recycles()[0].event == "signal"


def test_hung(serve: Serve) -> None:
    server = serve("--harakiri", "1")
    server.get("/hang")
    assert server.recycles()[0].event == "hung"


def test_died(serve: Serve) -> None:
    server = serve()
    pid = server.pids()[0]
    server.get("/die")
    event = server.recycles()[0]
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
    """Verbatim it waits until the worker is 10 s old (min-worker-lifetime); freed from that it is exact."""
    server = serve("--min-worker-lifetime", "0", WORKER_MANAGEMENT="article")
    for _ in range(1001):
        server.get("/")
    event = server.recycles()[0]
    assert event.event == "requests"
    assert ", 1000 requests," in event.detail


def fewest_serving(server: Server, seconds: float, path: str = "/") -> int:
    """Drive the server with eight clients, and look how many workers have an application all the while."""
    end = time.monotonic() + seconds

    def ask() -> None:
        while time.monotonic() < end:
            server.get(path)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    fewest = 99
    while time.monotonic() < end:
        fewest = min(fewest, server.serving())
        time.sleep(0.02)
    for client in clients:
        client.join(30)
    return fewest


def test_equal_limits_and_a_slow_import_take_all_workers_away(serve: Serve) -> None:
    options = ("--lazy-apps", "--max-requests", "300", "--max-requests-delta", "0")
    server = serve(*options, WORKERS="4", IMPORT_SECONDS="2")
    assert fewest_serving(server, 6) == 0


def test_in_what_ships_somebody_always_serves(serve: Serve) -> None:
    server = serve("--max-requests", "300", WORKERS="4", IMPORT_SECONDS="2")
    assert fewest_serving(server, 6) >= 1
    assert len(server.recycles()) >= 4


def test_rss_with_a_slow_import_takes_all_workers_away(serve: Serve) -> None:
    server = serve("--lazy-apps", RELOAD_ON_RSS="90", WORKERS="4", IMPORT_SECONDS="2")
    assert fewest_serving(server, 6, "/hold") == 0
