"""Reservations of memory by large requests: who runs, who waits, and what a worker that was killed had reserved."""

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest

from lowtide import admission, memory
from lowtide.admission import Budget
from lowtide.kinds import kind

SMALL, LARGE, UNKNOWN = (kind({"PATH_INFO": path}) for path in ("/small", "/large", "/unknown"))
Hold = Callable[[Budget, int, int, float], tuple[Any, Connection]]


@pytest.fixture
def budget() -> Budget:
    """Room for 100 MiB. A small request needs 10 MiB, a large one 60, and one of an unknown kind 90."""
    made = Budget(3, 100, 90)
    made._kinds.note(SMALL, 10)
    made._kinds.note(LARGE, 60)
    return made


@pytest.fixture
def hold() -> Iterator[Hold]:
    """Reserves in a process of its own, which says when it was admitted and ends its request when told to."""
    begun = []

    def begin(budget: Budget, worker: int, wanted: int, longest_s: float) -> tuple[Any, Connection]:
        here, there = multiprocessing.Pipe()

        def work() -> None:
            there.send("asks")
            there.send(budget.reserve(worker, wanted, longest_s, lambda: False))
            there.recv()
            budget.end(None)
            there.send("ended")
            there.recv()

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        assert here.recv() == "asks"
        begun.append(process)
        return process, here

    yield begin
    for process in begun:
        process.kill()
        process.join()


def fits(budget: Budget, wanted: int, worker: int = 3) -> bool:
    admitted = budget.reserve(worker, wanted, 0.1, lambda: False)
    budget.end(None)
    return admitted


def test_those_that_fit_together_run_together(budget: Budget, hold: Hold) -> None:
    _, other = hold(budget, 1, LARGE, 5)
    assert other.recv() is True
    assert fits(budget, SMALL)
    assert not fits(budget, LARGE)
    assert not fits(budget, UNKNOWN)
    other.send("end")
    assert other.recv() == "ended"
    assert fits(budget, LARGE)
    assert fits(budget, UNKNOWN)


def test_the_margin_is_kept_free_once(hold: Hold) -> None:
    """60 MiB and 40 need 106: with a margin for each it would be 110."""
    for room_mb, runs in ((107, True), (105, False)):
        budget = Budget(3, room_mb, 90)
        budget._kinds.note(SMALL, 40)
        budget._kinds.note(LARGE, 60)
        _, other = hold(budget, 1, LARGE, 5)
        assert other.recv() is True
        assert fits(budget, SMALL) is runs


def test_what_the_container_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 MiB, 120 are in use, 40 of them by large requests that run, and 18 stay free."""
    budget = Budget(3, None, 90)
    monkeypatch.setattr(memory, "limit_mb", lambda: 300.0)
    monkeypatch.setattr(memory, "working_set_mb", lambda: 120.0)
    assert budget._free_mb(40.0) == 202
    monkeypatch.setattr(memory, "limit_mb", lambda: None)
    assert budget._free_mb(40.0) == math.inf


def test_what_is_killed_gives_back(budget: Budget, hold: Hold) -> None:
    process, other = hold(budget, 1, LARGE, 5)
    assert other.recv() is True
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert fits(budget, LARGE)


def test_one_that_waits_runs_when_there_is_room(budget: Budget, hold: Hold) -> None:
    assert budget.reserve(1, LARGE, 0, lambda: False)
    _, other = hold(budget, 2, UNKNOWN, 60)
    assert not other.poll(0.2)
    budget.end(None)
    assert other.recv() is True


def test_one_that_is_alone_runs_whatever_it_needs(hold: Hold) -> None:
    budget = Budget(3, 50, 0)
    assert fits(budget, UNKNOWN)
    _, other = hold(budget, 1, UNKNOWN, 5)
    assert other.recv() is True
    assert not fits(budget, UNKNOWN)


@pytest.mark.parametrize(("patience_s", "passes"), [(60.0, True), (0.0, False)])
def test_small_ones_pass_a_large_one_for_a_while(
    budget: Budget, hold: Hold, monkeypatch: pytest.MonkeyPatch, patience_s: float, passes: bool
) -> None:
    monkeypatch.setattr(admission, "_PATIENCE_S", patience_s)
    _, other = hold(budget, 1, LARGE, 5)
    assert other.recv() is True
    _, waiting = hold(budget, 2, UNKNOWN, 60)
    assert not waiting.poll(0.2)
    assert fits(budget, SMALL) is passes


def test_what_grows_beyond_its_reservation_counts(budget: Budget) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        budget.reserve(1, SMALL, 0, lambda: False)
        block = bytearray(os.urandom(60 << 20))
        os.write(writer, b"grown")
        signal.pause()
        del block
    assert os.read(reader, 5) == b"grown"
    try:
        assert fits(budget, SMALL)
        assert not fits(budget, LARGE)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_client_that_left_is_not_waited_for(budget: Budget, hold: Hold) -> None:
    _, other = hold(budget, 1, LARGE, 5)
    assert other.recv() is True
    assert not budget.reserve(3, UNKNOWN, 60, lambda: True)


def test_a_body_of_another_size_is_another_kind() -> None:
    sizes = {
        kind({"REQUEST_METHOD": "POST", "PATH_INFO": "/import/7/", "CONTENT_LENGTH": str(size)})
        for size in (0, 2_000_000, 10_000_000, 10_100_000, 60_000_000)
    }
    assert len(sizes) == 4
    assert kind({"PATH_INFO": "/import/7/"}) == kind({"PATH_INFO": "/import/8/"})
