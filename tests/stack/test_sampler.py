"""The sampler's figures beside psutil's, while a server serves large requests."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest

from loadtest.measure.runtimes import sample_command
from loadtest.measure.sampling import Sampler
from stack.docker import followed
from tests.stack.conftest import Stack
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack
INTERVAL_S = 0.05
# How long after its beginning a large request is held still. Alone on a machine it takes some 0.4 s.
MOMENTS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)


def pss_mb(master: psutil.Process) -> float:
    """PSS of a process and its descendants, added up from every single mapping. The sampler reads the kernel's sums."""
    processes = [master, *master.children(recursive=True)]
    return float(sum(mapping.pss for process in processes for mapping in process.memory_maps()) / 2**20)


def are_stopped(processes: list[psutil.Process]) -> bool:
    return {process.status() for process in processes} == {psutil.STATUS_STOPPED}


def sampled_now(sampler: Sampler) -> float:
    """The memory in a sample that begins after this call."""
    now = time.time()
    # The first one since may have begun before.
    wait_until("two samples", lambda: sum(sample.time > now for sample in sampler.samples) >= 2)
    return sampler.samples[-1].memory_mb


def test_the_sampler_agrees_with_psutil(stack: Stack, feed: bytes) -> None:
    """Both read while the workers are stopped, so that they see the same however long reading takes."""
    command = [*sample_command(str(stack.var / "run/stats.sock"), None), "--interval", str(INTERVAL_S)]
    sampler = Sampler(followed(command, stack.local.env))
    master = psutil.Process(stack.local.server_pid())
    both: list[tuple[float, float]] = []
    try:
        first = sampler.last()
        for moment_s in MOMENTS_S:
            with ThreadPoolExecutor(1) as pool:
                request = pool.submit(stack.post_large, feed)
                time.sleep(moment_s)
                workers = [psutil.Process(worker["pid"]) for worker in stack.workers()]
                for worker in workers:
                    worker.suspend()
                try:
                    wait_until("all are stopped", partial(are_stopped, workers))
                    both.append((sampled_now(sampler), pss_mb(master)))
                finally:
                    for worker in workers:
                        worker.resume()
                assert request.result().status_code == 200
    finally:
        sampler.close()
    assert max(own for own, _ in both) > 1.5 * first.memory_mb, "the large requests took no memory"
    for own, other in both:
        assert own == pytest.approx(other, rel=0.01)
