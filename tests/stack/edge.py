"""nginx and uWSGI as they ship, around tests/stack/edge_app.py, to see what clients, faults and stops do to a stack."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from lowtide import application, memory, sample
from tests.machine import CHECKOUT, free_port, kill_tree

PLANTED = Path(__file__).parent / "planted"


def wait_until(what: str, true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@dataclass
class Edge:
    """A running nginx with its uWSGI."""

    port: int
    run: Path
    environment: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self, name: str, *command: str, output: int | None = None) -> None:
        """Start a process. Its output goes to a file, or to a descriptor if one is given."""
        with (self.run / f"{name}.log").open("ab") as log:
            out = log if output is None else output
            self.processes[name] = subprocess.Popen(
                command, cwd=CHECKOUT, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def begin_uwsgi(self, *options: str, output: int | None = None) -> None:
        command = [sys.executable, "-m", "lowtide.start", "uwsgi", "--ini", str(CHECKOUT / "uwsgi.ini")]
        self.begin("uwsgi", *command, "--module", "tests.stack.edge_app:application", *options, output=output)

    def begin_nginx(self) -> None:
        self.begin("nginx", str(CHECKOUT / "nginx/start"))

    def answers(self) -> bool:
        for process in self.processes.values():
            assert process.poll() is None, self.log("uwsgi") + self.log("nginx")
        try:
            return requests.get(f"{self.url}/", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def rests(self) -> bool:
        """Whether the first answer is behind the workers: uWSGI calls one busy for a moment after its answer came."""
        try:
            return self.busy() == 0
        except OSError:
            # With many workers, the first answer comes before the master has opened its socket of statistics.
            return False

    def log(self, name: str) -> str:
        return (self.run / f"{name}.log").read_text(errors="replace")

    def get(self, path: str = "/", timeout: float = 90, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=timeout, **options)

    def large(self, path: str = "/", timeout: float = 90, **options: Any) -> requests.Response:
        """A body of unknown length counts as large, however short it is."""
        return requests.post(self.url + path, data=iter([b"x"]), timeout=timeout, **options)

    def served(self) -> list[str]:
        """The names of the requests that have reached the application."""
        path = self.run / "served"
        return path.read_text().split() if path.exists() else []

    def workers(self) -> list[dict[str, Any]]:
        workers: list[dict[str, Any]] = sample.stats(str(self.run / "stats.sock"))["workers"]
        return sorted(workers, key=lambda worker: worker["id"])

    def busy(self) -> int:
        return sum(worker["status"] == "busy" for worker in self.workers())

    def client(self, head: str = "", source: str = "127.0.0.1") -> socket.socket:
        """Open a connection from this address of loopback and send these bytes."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(source, 0))
        # nginx may refuse early and close the connection before all is sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head.encode())
        return connection

    def nginx_pids(self) -> list[int]:
        return memory.tree(self.processes["nginx"].pid)

    def stop(self, name: str, number: int, seconds: float = 90) -> int:
        """Send a signal to the first process; returns its exit code."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(seconds)

    def end(self) -> None:
        for process in self.processes.values():
            kill_tree(process.pid)
            process.wait(10)


@contextmanager
def running(*options: str, output: int | None = None, **settings: str) -> Iterator[Edge]:
    """Start a stack with these options and variables. uWSGI writes its log to `output`, by default into a file."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        run, port = Path(folder), free_port()
        environment = {key: os.environ[key] for key in ("HOME", "SECRET_KEY") if key in os.environ}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "APP_DIR": str(PLANTED),
            "APPLICATION_CONF": f"{folder}/application.conf",
            "RUN_DIR": folder,
            "STATIC_ROOT": folder,
            "LISTEN": f"127.0.0.1:{port}",
            "MAX_BODY_MB": "32",
            "TRUSTED_PROXY": "192.0.2.1/32",
            "WORKERS": "2",
            "LARGE_WORKERS": "1",
            "ACCESS_LOG": f"{folder}/access.log",
            "ERROR_LOG": f"{folder}/error.log",
        }
        (run / "application.conf").write_text(application.read(PLANTED).nginx)
        edge = Edge(port, run, environment | settings)
        edge.begin_uwsgi(*options, output=output)
        edge.begin_nginx()
        try:
            wait_until("the stack answers", edge.answers)
            wait_until("no worker is busy", edge.rests)
            yield edge
        finally:
            edge.end()
