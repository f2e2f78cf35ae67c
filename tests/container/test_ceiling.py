"""A request that takes memory without end is ended before it reaches the container's limit."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests

from tests import described
from tests.container.stack import Stack, run
from tests.machine import CHECKOUT, free_port
from tests.stack.edge import wait_until

pytestmark = pytest.mark.container


@contextmanager
def server(stack: Stack, limit: str) -> Iterator[tuple[str, str]]:
    """A container with this memory limit, in which requests can be made to grow; its name and its address."""
    port = free_port()
    name = f"{stack.project}-ceiling"
    options = [f"--memory={limit}", f"--memory-swap={limit}", "--tmpfs=/run/lowtide:mode=770,uid=10001,gid=10001"]
    options += ["--env=SECRET_KEY=not-secret", "--env=WORKERS=3", f"--publish=127.0.0.1:{port}:9000"]
    options += [f"--volume={CHECKOUT}/tests:/srv/lowtide/tests:ro"]
    command = ["python", "-m", "lowtide.start", "uwsgi", "--ini", "/srv/lowtide/uwsgi.ini"]
    command += ["--module", "tests.stack.edge_app:application", "--http-socket", "0.0.0.0:9000"]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    assert run("docker", "run", "--detach", "--name", name, *options, f"{described.NAME}-app", *command).returncode == 0
    try:
        wait_until("it answers", answers)
        yield name, url
    finally:
        run("docker", "rm", "--force", name)


def grow(url: str, times: int) -> tuple[set[int], set[int]]:
    """The statuses of requests that take memory without end, and of a neighbour's requests meanwhile."""
    over = threading.Event()
    neighbours: set[int] = set()

    def ask() -> None:
        while not over.is_set():
            neighbours.add(requests.get(url, timeout=30).status_code)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        return {requests.get(f"{url}/?grow=bytes", timeout=60).status_code for _ in range(times)}, neighbours
    finally:
        over.set()
        asker.join(30)


def kills(name: str) -> tuple[str, int, bool]:
    """OOM kills in the container, its restarts, and whether it was killed itself."""
    look = "from lowtide import memory; print(memory.oom_kills())"
    killed = run("docker", "exec", name, "python", "-c", look).stdout.strip()
    state = json.loads(run("docker", "inspect", name).stdout)[0]
    return killed, state["RestartCount"], state["State"]["OOMKilled"]


@pytest.mark.parametrize("tries", [40, pytest.param(200, marks=pytest.mark.night)])
def test_no_try_ends_in_a_kill(stack: Stack, tries: int) -> None:
    # Less than the sizing rule asks for, so that only the ceiling keeps a request from the container's limit.
    with server(stack, "400m") as (name, url):
        assert grow(url, tries) == ({503}, {200})
        assert kills(name) == ("0", 0, False)


def test_a_limit_that_is_lowered_while_it_runs_is_followed(stack: Stack) -> None:
    with server(stack, "1g") as (name, url):
        lowered = run("docker", "update", "--memory=400m", "--memory-swap=400m", name)
        assert lowered.returncode == 0, lowered.stderr
        # A worker looks once a second, before a request.
        wait_until(
            "it follows",
            lambda: requests.get(url, timeout=30).ok and '"limit_mb": 400' in run("docker", "logs", name).stderr,
        )
        assert grow(url, 20) == ({503}, {200})
        assert kills(name) == ("0", 0, False)
        said = [
            json.loads(line) for line in run("docker", "logs", name).stderr.splitlines() if '"event": "limit"' in line
        ]
        assert {line["limit_mb"] for line in said} == {400}
        # And back.
        assert run("docker", "update", "--memory=1g", "--memory-swap=1g", name).returncode == 0
        wait_until(
            "it follows",
            lambda: requests.get(url, timeout=30).ok and '"limit_mb": 1024' in run("docker", "logs", name).stderr,
        )
