"""Why a worker ended, read from its slot in shared memory. tests/stack provokes each reason on a real uWSGI."""

import json
import os
import time
from collections.abc import Callable

import pytest

from lowtide import memory, recycles


def test_the_first_worker_has_no_predecessor() -> None:
    assert recycles.Slots(2).born(1, 100, 0) is None


def test_last_words_are_told_by_the_successor() -> None:
    slots = recycles.Slots(2)
    slots.born(2, 100, 0)
    slots.say(2, "rss", 431, 201.44)
    end = slots.born(2, 101, 0)
    assert end
    assert (end.worker, end.pid, end.reason, end.requests, end.rss_mb) == (2, 100, "rss", 431, 201.4)
    line = json.loads(end.line())
    assert line["event"] == "recycle"
    assert set(line) == {"event", "time", "worker", "pid", "reason", "age_s", "requests", "rss_mb", "away_s"}
    assert line["away_s"] >= 0


def test_words_are_said_once() -> None:
    slots = recycles.Slots(1)
    slots.born(1, 100, 0)
    slots.say(1, "requests", 1000, 50)
    slots.born(1, 101, 0)
    end = slots.born(1, 102, 0)
    assert end
    assert end.reason == "died"
    assert end.requests is None


def test_silence_in_an_overdue_request_is_a_hang() -> None:
    slots = recycles.Slots(1)
    slots.born(1, 100, 0)
    slots.begin_request(1)
    end = slots.born(1, 101, 1e-9)
    assert end
    assert end.reason == "hung"


def test_silence_after_a_request_is_not_a_hang() -> None:
    slots = recycles.Slots(1)
    slots.born(1, 100, 0)
    slots.begin_request(1)
    slots.end_request(1)
    end = slots.born(1, 101, 1e-9)
    assert end
    assert end.reason == "died"


def test_each_oom_kill_explains_one_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "oom_kills", lambda: 3)
    slots = recycles.Slots(2)
    for worker in (1, 2):
        slots.born(worker, 100 + worker, 0)
    monkeypatch.setattr(memory, "oom_kills", lambda: 4)
    reasons = [end.reason for worker in (1, 2) if (end := slots.born(worker, 200 + worker, 0))]
    assert reasons == ["oom", "died"]


def child(ask: Callable[[], bool]) -> int:
    """The exit code of a new process, 0 if `ask` returns true there. A process that ends gives up its turn."""
    pid = os.fork()
    if not pid:
        os._exit(0 if ask() else 1)
    return pid


def answer(pid: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_nobody_leaves_while_another_worker_is_away() -> None:
    slots = recycles.Slots(2)
    for worker in (1, 2):
        slots.born(worker, 100 + worker, 0)
    slots.say(1, "rss", 1, 200)
    pid = child(lambda: slots.wait_for_turn(2, 60))
    time.sleep(0.2)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    slots.born(1, 201, 0)
    assert answer(pid)


def test_a_turn_is_held_until_the_process_ends() -> None:
    slots = recycles.Slots(2)

    def hold() -> bool:
        turn = slots.wait_for_turn(1, 60)
        time.sleep(1)
        return turn

    holder = child(hold)
    time.sleep(0.5)
    assert not answer(child(lambda: slots.wait_for_turn(2, 0.05)))
    assert answer(holder)
    assert answer(child(lambda: slots.wait_for_turn(2, 60)))


def test_whoever_stays_away_is_not_waited_for() -> None:
    slots = recycles.Slots(2)
    slots.say(1, "signal", 1, 200)
    time.sleep(0.1)
    assert answer(child(lambda: slots.wait_for_turn(2, 0.1)))


def test_words_that_were_cut_off_are_silence() -> None:
    """A worker that is killed while it notes why it leaves must not keep its successors from starting."""
    slots = recycles.Slots(2)
    slots.born(1, 100, 0)
    slots.say(1, "rss", 1, 200)
    start = recycles._SLOT + recycles._HEAD.size
    slots._memory[start + 9 : start + 100] = bytes(91)
    assert answer(child(lambda: slots.wait_for_turn(2, 0.1)))
    end = slots.born(1, 101, 0)
    assert end
    assert end.reason == "died"
