"""What a worker holds after large requests, with giving back and without."""

import time
from pathlib import Path

import pytest

from lowtide import memory
from tests.stack.conftest import Stack, Start
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack
ROUNDS = 4


def large_worker_mb(stack: Stack) -> float:
    """PSS of the worker of the large pool, MiB, once it no longer falls: memory goes back after the answer."""
    pid, now = stack.workers()[-1]["pid"], float("inf")
    for _ in range(20):
        before, now = now, memory.pss_mb(pid)
        if now == before:
            break
        time.sleep(0.25)
    return now


def grown_mb(stack: Stack, feed: bytes) -> float:
    """How much more the worker for large requests holds after a few imports than before, MiB."""
    before = large_worker_mb(stack)
    for _ in range(ROUNDS):
        assert stack.post_large(feed).status_code == 200
    return large_worker_mb(stack) - before


def test_memory_is_given_back_and_kept_without(start: Start, feed: bytes) -> None:
    keeping = start(GIVE_BACK_MB="0", WORKER_MANAGEMENT="without")
    kept = grown_mb(keeping, feed)
    giving = start(WORKER_MANAGEMENT="without")
    left = grown_mb(giving, feed)
    assert kept > 60
    assert left < kept / 2


def test_a_request_whose_memory_was_given_back_does_not_recycle_its_worker(start: Start, feed: bytes) -> None:
    """The limit lies between the RSS that a request would leave and the RSS after memory was given back."""
    giving = start(RELOAD_ON_RSS="90")
    pid = giving.workers()[-1]["pid"]
    assert giving.post_large(feed).status_code == 200
    assert giving.workers()[-1]["pid"] == pid
    keeping = start(RELOAD_ON_RSS="90", GIVE_BACK_MB="0")
    for _ in range(ROUNDS):
        assert keeping.post_large(feed).status_code == 200
    wait_until("a worker was replaced", lambda: "rss" in {event.event for event in keeping.recycles()})


def test_a_body_is_held_once_and_without_twice(start: Start, feed: bytes) -> None:
    peaks = []
    for settings in ({}, {"GIVE_BACK_MB": "0", "WORKER_MANAGEMENT": "without"}):
        # The ledger would reset the peak that is read here.
        stack = start(LEDGER="0", **settings)
        pid = stack.workers()[-1]["pid"]
        before = memory.rss_mb(pid)
        assert stack.post_large(feed).status_code == 200
        status = Path(f"/proc/{pid}/status").read_text()
        (peak,) = (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
        peaks.append(peak - before)
    once, twice = peaks
    print(f"at the peak of an import: {once:.0f} MiB with its body read in parts, {twice:.0f} MiB without")
    assert once < twice - len(feed) / memory.MIB / 2, peaks
