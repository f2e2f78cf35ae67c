"""The local runtime for tests: real nginx and uWSGI on a free port of loopback, with a state folder of its own."""

import os
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from loadtest.measure import recycles
from lowtide import defaults, sample
from tests import described
from tests.stack import bare
from tests.stack.edge import Edge, running

CHECKOUT = Path(__file__).resolve().parents[2]
# An application that does on request what no real application does.
PLANTED = Path(__file__).parent / "planted"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Stack:
    """A running stack."""

    url: str
    var: Path
    environment: dict[str, str]

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the stack's controller with these arguments."""
        command = [sys.executable, "-m", "stack", "--env-file", os.devnull, *words]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, timeout=180)

    def supervisor(self, *words: str) -> None:
        """Run supervisorctl with these arguments."""
        config = str(CHECKOUT / "stack/supervisord.conf")
        self.control("run", str(Path(sys.executable).parent / "supervisorctl"), "-c", config, *words)

    def get(self, path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, headers=described.OPENING | (headers or {}), **options)

    def post_large(self, body: Any, **options: Any) -> requests.Response:
        """Send the application's large request with this body."""
        row = described.large()
        return requests.request(
            row.method, self.url + row.path, data=body, timeout=60, headers=described.headers(row), **options
        )

    def fill(self, items: int) -> None:
        """Fill the database."""
        for command in described.seed_commands(items):
            done = self.control("run", *described.MANAGE, *shlex.split(command))
            assert done.returncode == 0, done.stderr

    def workers(self) -> list[dict[str, Any]]:
        """uWSGI's figures of its workers, by number from 1."""
        found: list[dict[str, Any]] = sample.stats(str(self.var / "run/stats.sock"))["workers"]
        return sorted(found, key=lambda worker: worker["id"])

    def served(self, at_least: int = 0) -> list[int]:
        """Requests of each worker. uWSGI counts after the answer, so wait up to 5 s for a sum of `at_least`."""
        for _ in range(100):
            counts = [worker["requests"] for worker in self.workers()]
            if sum(counts) >= at_least:
                break
            time.sleep(0.05)
        return counts

    def log(self) -> list[str]:
        return (self.var / "log/uwsgi.log").read_text(errors="replace").splitlines()

    def recycles(self) -> list[recycles.Event]:
        return recycles.of_uwsgi(self.log(), 0)


Start = Callable[..., Stack]


def start_stack(var: Path, **settings: str) -> Stack:
    """Start a stack with these variables. All others have their defaults, whatever the shell says."""
    port = free_port()
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "SECRET_KEY") if key in os.environ}
    environment |= {"VAR_DIR": str(var), "PORT": str(port), "BIND": "127.0.0.1", "HTTPS": "off"}
    environment |= defaults.variables()
    environment |= {"TRUSTED_PROXY": "127.0.0.1/32", "DATABASE_URL": f"sqlite:///{var}/db.sqlite3"}
    environment |= described.VARIABLES | settings
    stack = Stack(f"http://127.0.0.1:{port}", var, environment)
    done = stack.control("up")
    if done.returncode:
        stack.control("down")
        raise RuntimeError(f"the stack did not start:\n{done.stdout}{done.stderr}")
    return stack


@pytest.fixture(scope="session")
def feed() -> bytes:
    """The body that inflates a worker."""
    return described.large_body(CHECKOUT / "var/loadtest")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack as it ships, shared by all tests that do not change it."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        running = start_stack(Path(folder))
        running.fill(items=2000)
        try:
            yield running
        finally:
            running.control("down")


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: unix sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="lowtide-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def edge() -> Iterator[Callable[..., Edge]]:
    """Starts nginx and uWSGI around a planted application, with these settings, and ends them after the test."""
    with ExitStack() as stacks:
        yield lambda *options, **settings: stacks.enter_context(running(free_port, *options, **settings))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts stacks, each with its own settings, and stops them after the test."""
    started: list[Stack] = []
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:

        def begin(**settings: str) -> Stack:
            # The path has spaces, because the path of a checkout may have them.
            started.append(start_stack(Path(folder) / f"stack {len(started)}", **settings))
            return started[-1]

        yield begin
        for stack in started:
            stack.control("down")


@pytest.fixture
def serve() -> Iterator[bare.Serve]:
    """Starts bare servers."""
    with bare.servers(free_port) as begin:
        yield begin
