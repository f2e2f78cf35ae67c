"""The sampler's figures beside psutil's, while a server serves large requests."""

import threading
import time
from itertools import pairwise

import psutil
import pytest

from loadtest.measure.runtimes import sample_command
from loadtest.measure.sampling import Sampler
from stack.docker import followed
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack
INTERVAL_S = 0.05
LARGE_REQUESTS = 6
Curve = list[tuple[float, float]]


def pss_mb(master: psutil.Process) -> float:
    """PSS of a process and its descendants, added up from every single mapping. The sampler reads the kernel's sums."""
    processes = [master, *master.children(recursive=True)]
    return float(sum(mapping.pss for process in processes for mapping in process.memory_maps()) / 2**20)


def mean(curve: Curve, start: float, end: float) -> float:
    """The mean over the time between two moments."""
    inside = [point for point in curve if start <= point[0] <= end]
    area = sum((after - before) * (low + high) / 2 for (before, low), (after, high) in pairwise(inside))
    return area / (inside[-1][0] - inside[0][0])


def test_the_sampler_agrees_with_psutil(stack: Stack, feed: bytes) -> None:
    command = [*sample_command(str(stack.var / "run/stats.sock"), None), "--interval", str(INTERVAL_S)]
    sampler = Sampler(followed(command, stack.local.env))
    master = psutil.Process(stack.local.server_pid())
    other: Curve = []
    over = threading.Event()

    def read() -> None:
        while not over.wait(INTERVAL_S):
            other.append((time.time(), pss_mb(master)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        sampler.last()
        start = time.time()
        for _ in range(LARGE_REQUESTS):
            assert stack.post_large(feed).status_code == 200
        end = time.time()
    finally:
        over.set()
        reader.join()
        sampler.close()
    own = [(sample.time, sample.memory_mb) for sample in sampler.samples]
    assert max(memory for _, memory in own) > 1.5 * own[0][1], "the large requests took no memory"
    assert mean(own, start, end) == pytest.approx(mean(other, start, end), rel=0.05)
