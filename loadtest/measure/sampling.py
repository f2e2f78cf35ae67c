"""Memory of the running server, from `lowtide.sample`, which runs beside it: continuously, or once."""

import bisect
import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from loadtest.measure import CannotMeasure
from loadtest.measure.runtimes import Runtime, sample_command

INTERVAL_S = 0.5


@dataclass(frozen=True)
class Sample:
    """Memory in MiB; `requests` and `workers` are uWSGI's counts, and None for other servers.

    Working set and OOM kills are None outside a container, and PSS is None for a deployment that shows a working set.
    """

    time: float
    pss_mb: float | None
    working_set_mb: float | None = None
    oom_kills: int | None = None
    requests: int | None = None
    workers: int | None = None

    @property
    def memory_mb(self) -> float:
        """PSS, or the working set where PSS cannot be seen."""
        return self.pss_mb if self.pss_mb is not None else self.working_set_mb or 0.0


@dataclass
class Sampler:
    """Reads the sampler's lines as they come."""

    process: subprocess.Popen[str]
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout  # noqa: S101 - for the type checker
        for line in self.process.stdout:
            cells = line.strip().split(",")
            if cells[0] == "time" or len(cells) != 6:
                continue
            self.samples.append(
                Sample(
                    float(cells[0]),
                    float(cells[1]),
                    float(cells[2]) if cells[2] else None,
                    int(cells[3]) if cells[3] else None,
                    int(cells[4]) if cells[4] else None,
                    int(cells[5]) if cells[5] else None,
                )
            )

    def close(self) -> None:
        assert self.process.stdin  # noqa: S101
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.terminate()
        self._reader.join(10)

    def last(self, wait_s: float = 10) -> Sample:
        """The newest sample; waits if there is none yet."""
        deadline = time.monotonic() + wait_s
        while not self.samples:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise CannotMeasure("The sampler found nothing to measure: the server does not answer, or has gone.")
            time.sleep(0.05)
        return self.samples[-1]

    def between(self, start: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if start <= sample.time <= end]


@contextmanager
def sampling(runtime: Runtime, interval_s: float, pid: int | None = None) -> Iterator[Sampler]:
    sampler = Sampler(runtime.sampler(interval_s, pid))
    try:
        yield sampler
    finally:
        sampler.close()


def median_mb(samples: list[Sample]) -> float:
    if not samples:
        raise CannotMeasure("No sample was taken in a phase that needs one: the machine is too busy to measure.")
    return round(statistics.median(sample.memory_mb for sample in samples), 1)


def counted(samples: list[Sample], ends: list[float]) -> list[Sample]:
    """The samples, each with how many requests had ended by then, for a server that does not count them itself."""
    return [replace(sample, requests=bisect.bisect_right(ends, sample.time)) for sample in samples]


def workers(runtime: Runtime, pid: int | None = None) -> dict[int, float]:
    """The workers of uWSGI, or of the server whose first process is `pid`: their process ids, and RSS in MiB."""
    answer = json.loads(runtime.run([*sample_command(runtime.stats_socket, pid), "--once"]))
    return {worker["pid"]: worker["rss_mb"] for worker in answer["workers"]}


def idle_rss_mb(runtime: Runtime, pid: int | None = None) -> float:
    """RSS of the largest worker in MiB, which is what reload-on-rss is compared with."""
    return max(workers(runtime, pid).values(), default=0.0)


def fresh_workers(runtime: Runtime, sampler: Sampler) -> None:
    """Kill every worker, and wait until all have successors."""
    before = sampler.last().workers or 0
    runtime.kill_workers(list(workers(runtime)))
    deadline = time.monotonic() + 30
    time.sleep(1.2)
    while (sampler.last().workers or 0) < before:
        if time.monotonic() > deadline:
            raise CannotMeasure("Workers that were killed did not come back within 30 s.")
        time.sleep(0.1)
