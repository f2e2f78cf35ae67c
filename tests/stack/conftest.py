"""The local runtime for tests: real nginx and uWSGI on a free port of loopback, with a state folder of its own."""

import os
import shlex
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
from stack.local import Local, environment
from tests import described
from tests.machine import CHECKOUT, free_port
from tests.stack import bare
from tests.stack.edge import Edge, running, wait_until

# An application that does on request what no real application does.
PLANTED = Path(__file__).parent / "planted"


@dataclass
class Stack:
    """A running stack."""

    url: str
    var: Path
    environment: dict[str, str]

    @property
    def local(self) -> Local:
        """The stack's controller."""
        return Local(environment(os.devnull, self.environment))

    def control(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the controller as a command with these arguments, for a test that reads what it prints."""
        command = [sys.executable, "-m", "stack", "--env-file", os.devnull, *words]
        return subprocess.run(command, cwd=CHECKOUT, env=self.environment, capture_output=True, text=True, timeout=180)

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
            self.local.output([*described.MANAGE, *shlex.split(command)])

    def workers(self) -> list[dict[str, Any]]:
        """uWSGI's figures of its workers, by number from 1."""
        workers: list[dict[str, Any]] = sample.stats(str(self.var / "run/stats.sock"))["workers"]
        return sorted(workers, key=lambda worker: worker["id"])

    def served(self, at_least: int = 0) -> list[int]:
        """Requests of each worker. uWSGI counts after the answer, so wait up to 5 s for a sum of `at_least`."""
        for _ in range(100):
            counts = [worker["requests"] for worker in self.workers()]
            if sum(counts) >= at_least:
                break
            time.sleep(0.05)
        return counts

    def log(self) -> list[str]:
        """The whole lines of uWSGI's log so far. supervisord writes what a request logs a moment after its answer."""
        return (self.var / "log/uwsgi.log").read_text(errors="replace").rpartition("\n")[0].splitlines()

    def recycles(self) -> list[recycles.Event]:
        return recycles.of_uwsgi(self.log(), 0)


Start = Callable[..., Stack]


def start_stack(var: Path, **settings: str) -> Stack:
    """Start a stack with these variables. All others have their defaults, whatever the shell says."""
    port = free_port()
    variables = {key: os.environ[key] for key in ("PATH", "HOME", "SECRET_KEY") if key in os.environ}
    variables |= {"VAR_DIR": str(var), "PORT": str(port), "BIND": "127.0.0.1", "HTTPS": "off"}
    variables |= defaults.variables()
    variables |= {"TRUSTED_PROXY": "127.0.0.1/32", "DATABASE_URL": f"sqlite:///{var}/db.sqlite3"}
    variables |= described.VARIABLES | settings
    stack = Stack(f"http://127.0.0.1:{port}", var, variables)
    stack.local.up()
    if "SERVER_COMMAND" not in settings:
        # A worker may answer a moment before the master has its socket of statistics.
        wait_until("uWSGI has its socket of statistics", (var / "run/stats.sock").exists)
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
            running.local.down()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short path: unix sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="lowtide-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def edge() -> Iterator[Callable[..., Edge]]:
    """Starts nginx and uWSGI around a planted application, with these settings, and ends them after the test."""
    with ExitStack() as stacks:
        yield lambda *options, **settings: stacks.enter_context(running(*options, **settings))


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
            stack.local.down()


@pytest.fixture
def serve() -> Iterator[bare.Serve]:
    """Starts bare servers."""
    with bare.servers() as begin:
        yield begin
