"""A request that takes memory without end is ended before it reaches the container's limit."""

import json
import threading

import pytest
import requests

from tests import described
from tests.container.stack import Stack, run
from tests.machine import CHECKOUT, free_port
from tests.stack.edge import wait_until

pytestmark = pytest.mark.container
TRIES = 200


def test_no_kill_in_two_hundred_tries(stack: Stack) -> None:
    port = free_port()
    name = f"{stack.project}-ceiling"
    # Less than the sizing rule asks for, so that only the ceiling keeps a request from the container's limit.
    options = ["--memory=400m", "--memory-swap=400m", "--tmpfs=/run/lowtide:mode=770,uid=10001,gid=10001"]
    options += ["--env=SECRET_KEY=not-secret", "--env=WORKERS=3", f"--publish=127.0.0.1:{port}:9000"]
    options += [f"--volume={CHECKOUT}/tests:/srv/lowtide/tests:ro"]
    server = ["python", "-m", "lowtide.start", "uwsgi", "--ini", "/srv/lowtide/uwsgi.ini"]
    server += ["--module", "tests.stack.edge_app:application", "--http-socket", "0.0.0.0:9000"]
    url = f"http://127.0.0.1:{port}"
    over = threading.Event()
    neighbours: list[int] = []

    def ask() -> None:
        while not over.is_set():
            neighbours.append(requests.get(url, timeout=30).status_code)

    def answers() -> bool:
        try:
            return requests.get(url, timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    assert run("docker", "run", "--detach", "--name", name, *options, f"{described.NAME}-app", *server).returncode == 0
    try:
        wait_until("it answers", answers)
        asker = threading.Thread(target=ask)
        asker.start()
        statuses = [requests.get(f"{url}/?grow=bytes", timeout=60).status_code for _ in range(TRIES)]
        over.set()
        asker.join(30)
        look = "from lowtide import memory; print(memory.oom_kills())"
        kills = run("docker", "exec", name, "python", "-c", look).stdout.strip()
        state = json.loads(run("docker", "inspect", name).stdout)[0]
    finally:
        over.set()
        run("docker", "rm", "--force", name)
    assert set(statuses) == {503}
    assert set(neighbours) == {200}
    assert (kills, state["RestartCount"], state["State"]["OOMKilled"]) == ("0", 0, False)
