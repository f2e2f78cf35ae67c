"""The machine's clock is set while requests are served, forwards and back, for nginx and uWSGI alike (clock.c)."""

import os
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadtest.measure import recycles
from tests.stack.edge import Edge, wait_until

pytestmark = pytest.mark.stack
Start = Callable[..., Edge]


class Clock:
    """A library that sets the clock of the programs which load it."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "offset"
        library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source)], check=True)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(self._offset)}
        self.set(0)

    def set(self, seconds: int) -> None:
        new = self._offset.with_suffix(".new")
        new.write_text(str(seconds))
        new.rename(self._offset)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


def ages(stack: Edge) -> list[tuple[str, bool]]:
    """Why workers were replaced, and whether the log says an age that they can have."""
    ends = recycles.uwsgi_lines(stack.log("uwsgi").splitlines())
    return [(end["reason"], 0 <= end["age_s"] < 600 and 0 <= (end["away_s"] or 0) < 600) for end in ends]


def test_a_clock_that_is_set_costs_no_request(edge: Start, clock: Clock) -> None:
    stack = edge(WORKERS="3", **clock.environment)
    over = False
    statuses: list[int] = []

    def ask(_: int) -> None:
        while not over:
            statuses.append(stack.get("/?sleep=0.02", timeout=60).status_code)

    def served(number: int) -> None:
        wait_until(f"{number} are answered", lambda: len(statuses) >= number, 60)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            served(50)
            # All workers are past their lifetime at once, and what waits seems to have waited for two hours.
            clock.set(7200)
            wait_until("all are replaced", lambda: ages(stack).count(("lifetime", True)) == 3)
            served(len(statuses) + 50)
            clock.set(-7200)
            served(len(statuses) + 200)
            pids = [worker["pid"] for worker in stack.workers()]
            os.kill(pids[2], signal.SIGKILL)
            wait_until("the idle worker that died has a successor", lambda: ages(stack)[3:] == [("died", True)])
            served(len(statuses) + 50)
        finally:
            over = True
        for one in asking:
            one.result()
    assert set(statuses) == {200}


def test_a_request_that_hangs_is_ended_although_the_clock_was_set_back(edge: Start, clock: Clock) -> None:
    """uWSGI's master makes no checks until the clock is where it was (core/master.c:763); lowtide.deadline does."""
    stack = edge("--harakiri", "2", **clock.environment)
    clock.set(-7200)
    assert stack.get("/?sleep=30", timeout=60).status_code == 502
    wait_until("it is said", lambda: ages(stack) == [("hung", True)])
    assert stack.get().status_code == 200
