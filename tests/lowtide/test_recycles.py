"""Why a worker ended, told by its slot. The reasons themselves are provoked on a real uWSGI in tests/stack."""

import json

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
    assert set(line) == {"event", "time", "worker", "pid", "reason", "age_s", "requests", "rss_mb"}


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
