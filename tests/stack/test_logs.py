"""When nobody reads the log pipe, no worker waits for it: lines are dropped and counted."""

import json
import os
from collections.abc import Callable

import pytest

from tests.stack.edge import Edge, wait_until

pytestmark = pytest.mark.stack


def test_a_pipe_that_nobody_reads(edge: Callable[..., Edge]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def read() -> str:
        try:
            return os.read(reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    stack = edge(output=writing)
    for _ in range(100):
        assert stack.get("/?log=6000", timeout=10).status_code == 200
    # A worker that is killed is logged, too, and so is its successor.
    os.kill(stack.workers()[0]["pid"], 9)
    wait_until("it has a successor", lambda: stack.get("/?log=6000", timeout=10).status_code == 200)
    assert len(read()) <= 1 << 16
    assert stack.get("/?log=100").status_code == 200
    os.kill(stack.workers()[0]["pid"], 0)
    for _ in range(20):
        assert stack.large("/?log=30000").status_code == 200
    # What the pipe took of them, with lines that count the dropped ones, and what comes once there is room again.
    lines = read().splitlines()
    assert stack.large("/?log=30000").status_code == 200
    lines += read().splitlines()
    dropped = [json.loads(line)["lines"] for line in lines if line.startswith('{"event": "log-dropped"')]
    assert sum(dropped) >= 10
    assert max(map(len, lines)) <= 16 * 1024
    os.close(reading)
    # A reader that has gone away does not stop them either.
    assert stack.get("/?log=6000", timeout=10).status_code == 200


def test_a_line_of_nginx_has_a_bound(edge: Callable[..., Edge]) -> None:
    stack = edge()
    stack.get(f"/?{'a' * 7000}", headers={"User-Agent": "b" * 7000})
    access_log = stack.run / "access.log"
    # So many letters, because a request's id is in each line, is random, and may have "aaa" in it.
    wait_until("it is logged", lambda: "a" * 40 in access_log.read_text())
    line = json.loads(next(line for line in access_log.read_text().splitlines() if "a" * 40 in line))
    assert line["uri"] == f"/?{'a' * 998}..."
    assert line["agent"] == f"{'b' * 300}..."
