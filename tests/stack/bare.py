"""uWSGI without nginx, with the uwsgi.ini that ships and tests/stack/planted, to see how workers behave and end."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from loadtest.measure import recycles
from lowtide import sample
from tests.machine import CHECKOUT, free_port, kill_tree
from tests.stack.edge import wait_until

PLANTED = Path(__file__).parent / "planted"


@dataclass
class Server:
    """A bare uWSGI with the application in tests/stack/planted."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> None:
        """Send a request whose answer may never come."""
        with suppress(requests.RequestException):
            requests.get(self.url + path, timeout=10)

    def begin(self, path: str) -> None:
        """Send a request and do not wait for its answer. When this returns, the request has reached the application."""
        threading.Thread(target=self.get, args=(path,), daemon=True).start()
        deadline = time.monotonic() + 10
        while not any(worker["status"] == "busy" for worker in self.workers()):
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def workers(self) -> list[dict[str, Any]]:
        """uWSGI's figures of its workers. The stats socket appears a moment after the first worker, so wait for it."""
        wait_until("uWSGI has its socket of statistics", (self.folder / "stats.sock").exists, 10)
        figures: list[dict[str, Any]] = sample.stats(str(self.folder / "stats.sock"))["workers"]
        return figures

    def pids(self) -> list[int]:
        return [worker["pid"] for worker in self.workers()]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def away(self) -> list[tuple[float, float]]:
        """When each worker left and when its successor started, in Unix seconds."""
        ends = recycles.uwsgi_lines(self.log().splitlines())
        # Both times are rounded to the millisecond.
        return [(end["time"] - end["away_s"] + 0.002, end["time"]) for end in ends]

    def most_away(self) -> int:
        """The most workers that were away at the same time."""
        spans = self.away()
        return max(len([1 for start, end in spans if start <= when < end]) for when, _ in spans)

    @property
    def master(self) -> int:
        return self.process.pid

    def wait_for(self, words: str, wait_s: float = 20) -> str:
        """Wait until `words` are in the log; the log."""
        deadline = time.monotonic() + wait_s
        while words not in self.log():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self.log()

    def serving(self) -> int:
        """How many workers have loaded the application."""
        return sum(worker["pid"] > 0 and bool(worker["apps"]) for worker in self.workers())

    def replaced(self, wait_s: float = 15) -> list[recycles.Event]:
        """The recycles that are in the log; waits for the first."""
        deadline = time.monotonic() + wait_s
        while not (events := recycles.of_uwsgi(self.log().splitlines(), 0)):
            if time.monotonic() > deadline:
                raise AssertionError(self.log())
            time.sleep(0.05)
        return events


Serve = Callable[..., Server]


@contextmanager
def servers() -> Iterator[Serve]:
    """Starts servers, each with its own options and variables, and ends them when the context ends."""
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:

        def begin(*options: str, **settings: str) -> Server:
            port = free_port()
            environment = os.environ | {"RUN_DIR": folder, "WORKERS": "1", "LARGE_WORKERS": "0"} | settings
            environment |= {"APP_DIR": str(PLANTED), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
            command = [sys.executable, "-m", "lowtide.start", "uwsgi", "--ini", str(CHECKOUT / "uwsgi.ini")]
            command += ["--http-socket", f"127.0.0.1:{port}", *options]
            with (Path(folder) / "log").open("wb") as log:
                process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
            running.append(process)
            server = Server(f"http://127.0.0.1:{port}", Path(folder), process)
            for _ in range(200):
                # Another program may answer at the port, if this server did not get it.
                assert process.poll() is None, server.log()
                try:
                    requests.get(server.url, timeout=10)
                    return server
                except requests.ConnectionError:
                    time.sleep(0.1)
            raise AssertionError(server.log())

        try:
            yield begin
        finally:
            for process in running:
                kill_tree(process.pid)
                process.wait(10)
