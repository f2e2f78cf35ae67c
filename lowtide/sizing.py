"""The sizing rule: how much memory a pre-forking server may need at most, and which settings keep it below a limit.

All memory is in MiB. The rule is conservative, because it takes every term at its highest at the same moment:

    idle                                   master and workers at rest, as a sum of PSS, so that shared pages count once
    + workers x (reload-on-rss - RSS)      what each worker may keep between requests before it is replaced; RSS is an
                                           idle worker's, because uWSGI compares RSS with reload-on-rss
    + large requests at once x need        what a large request adds while it runs, on top of what its worker keeps
    + headroom                             memory that belongs to no worker: HEADROOM_MB
    <= the container's hard limit

With a pool for large requests, only LARGE_WORKERS of them run at once; with one pool (LARGE_WORKERS=0), WORKERS.

Differences of RSS may be added to a sum of PSS, because a worker grows by pages of its own, which count once in both.
The rule does not include: pages that a worker stops sharing with the master after the idle server was measured (so
measure after some requests), a request larger than the largest one measured, files in a tmpfs of the container, and
large requests that nginx does not send to the large pool.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lowtide.application import Application

# The rule in words, for messages.
RULE = "idle memory + workers x (reload-on-rss - idle RSS) + large requests at once x what one adds + headroom"
# Measured in the shipped container: 4 for the kernel (page tables, sockets, stacks), 10 for the health check's Python,
# 10 for a sampler or a shell in the container, and a third of that sum as a reserve.
HEADROOM_MB = 32
# Three times GIVE_BACK_MB. A worker's heap grows by up to GIVE_BACK_MB before memory is given back; with a limit closer
# to an idle worker, that ordinary growth would replace workers.
LEAST_GROWTH_MB = 24
# A peak may lie between two samples, and the next request may be a little larger than the one measured.
NEED_MARGIN = 1.1
# Limits are rounded up to this, so that they are easy to compare.
STEP_MB = 16
MAX_REQUESTS = 1000
MAX_WORKER_LIFETIME_S = 3600


@dataclass(frozen=True)
class Load:
    """What was measured of one server.

    Attributes:
        idle_mb: sum of PSS over master and workers at rest, after each worker has served some requests.
        workers: how many workers there were.
        worker_rss_mb: RSS of one idle worker, shared pages included.
        large_mb: what the largest request adds to its worker at its peak, as measured, without a margin.
        worker_private_mb: the part of an idle worker that no other process shares; None when it is not known.
        worker_rss_least_mb: the lower end, where RSS is only known as a range; `worker_rss_mb` is the upper end.
    """

    idle_mb: float
    workers: int
    worker_rss_mb: float
    large_mb: float
    worker_private_mb: float | None = None
    worker_rss_least_mb: float | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or min(self.idle_mb, self.worker_rss_mb) <= 0 or self.large_mb < 0:
            raise ValueError(
                f"idle {self.idle_mb:g} MiB, {self.workers} workers of {self.worker_rss_mb:g} MiB, a large request of "
                f"{self.large_mb:g} MiB: not a server"
            )

    @property
    def need_mb(self) -> int:
        """What to reserve for one large request (LARGE_NEED_MB)."""
        return math.ceil(round(self.large_mb * NEED_MARGIN, 3))

    def idle_with(self, workers: int) -> float:
        """Idle memory with another number of workers.

        Where the private part of a worker is not known, each more worker adds an equal share of all idle memory, and
        each fewer saves nothing. Both estimates are too high rather than too low.
        """
        more = workers - self.workers
        if self.worker_private_mb is not None:
            return max(self.idle_mb + more * self.worker_private_mb, self.worker_rss_mb)
        return self.idle_mb + max(0, more) * self.idle_mb / self.workers


def measured(application: Application) -> Load | None:
    """The figures that were measured of the application, from its lowtide.toml; None where it has none."""
    figures = application.measured
    if figures is None:
        return None
    return Load(figures.idle_mb, figures.workers, figures.worker_rss_mb, figures.large_mb, figures.worker_private_mb)


@dataclass(frozen=True)
class Bound:
    """The rule's terms, MiB."""

    idle_mb: float
    workers: int
    growth_mb: float
    large_at_once: int
    need_mb: float
    headroom_mb: float = HEADROOM_MB

    @property
    def rest_mb(self) -> float:
        """The most memory at rest: every worker just below reload-on-rss, and no large request."""
        return self.idle_mb + self.workers * self.growth_mb + self.headroom_mb

    @property
    def total_mb(self) -> float:
        return self.rest_mb + self.large_at_once * self.need_mb

    @property
    def least_mb(self) -> float:
        """An idle server and one large request: with less memory the server cannot work."""
        return self.idle_mb + self.need_mb

    def words(self) -> str:
        """The sum with its numbers: "idle 97 + 4 workers x 27 + 1 large request x 212 + headroom 32 = 449 MiB"."""
        return (
            f"idle {self.idle_mb:.0f} + {counted(self.workers, 'worker')} x {self.growth_mb:.0f} of growth + "
            f"{counted(self.large_at_once, 'large request')} x {self.need_mb:.0f} + headroom {self.headroom_mb:.0f} = "
            f"{self.total_mb:.0f} MiB"
        )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def bound(load: Load, workers: int, large_workers: int, reload_on_rss_mb: float, need_mb: float | None = None) -> Bound:
    """The rule for these settings. With 0 `large_workers` there is one pool; `need_mb` is the load's unless given."""
    return Bound(
        idle_mb=load.idle_with(workers),
        workers=workers,
        growth_mb=max(0.0, reload_on_rss_mb - (load.worker_rss_least_mb or load.worker_rss_mb)),
        large_at_once=large_workers or workers,
        need_mb=load.need_mb if need_mb is None else need_mb,
    )


def least_reload_on_rss(load: Load) -> int:
    """1.5 times an idle worker, and at least LEAST_GROWTH_MB above it; with less, workers are replaced all the time."""
    return math.ceil(load.worker_rss_mb + max(LEAST_GROWTH_MB, load.worker_rss_mb / 2))


def supposed(workers: int, reload_on_rss_mb: float) -> Load:
    """An estimate of the load of a server that was not measured, from its reload-on-rss.

    It assumes that reload-on-rss is 1.5 times an idle worker (`least_reload_on_rss`), that a large request makes its
    worker as large as reload-on-rss, and that workers share no memory.
    """
    rss_mb = reload_on_rss_mb / 1.5
    return Load(workers * rss_mb, workers, rss_mb, (reload_on_rss_mb - rss_mb) / NEED_MARGIN)


def unmeasured_bound(workers: int, reload_on_rss_mb: float) -> Bound:
    """The rule for a server that was not measured, with one large request at a time."""
    load = supposed(workers, reload_on_rss_mb)
    return bound(load, workers, 1, reload_on_rss_mb, reload_on_rss_mb - load.worker_rss_mb)


def highest_reload_on_rss(workers: int, limit_mb: float) -> int:
    """The highest reload-on-rss with which `unmeasured_bound` is within a limit; at least 1."""
    # The bound without its headroom is proportional to reload-on-rss, so one value of it gives the factor.
    total_for_3_mb = unmeasured_bound(workers, 3).total_mb - HEADROOM_MB
    return max(1, math.floor(3 * (limit_mb - HEADROOM_MB) / total_for_3_mb))


def default_large_workers(workers: int) -> int:
    """A quarter of the workers, at least one; a single worker has only one pool."""
    return max(1, workers // 4) if workers > 1 else 0


def step_up(mb: float) -> int:
    """Round up to a multiple of STEP_MB."""
    return math.ceil(mb / STEP_MB) * STEP_MB


class TooSmall(ValueError):
    """The memory given is too small for the load.

    Attributes:
        bound: the smallest bound among the settings that were tried.
    """

    def __init__(self, memory_mb: float, bound: Bound) -> None:
        super().__init__(f"{bound.words()}, more than the limit of {memory_mb:.0f} MiB")
        self.memory_mb = memory_mb
        self.bound = bound


@dataclass(frozen=True)
class Sizing:
    """The settings that keep a load below a limit, MiB and seconds.

    Attributes:
        large_workers: how many of `workers` are only for large requests; 0 is one pool.
        hard_mb: the container's limit, at which the kernel kills a process. ECS memory, Kubernetes limits.
        soft_mb: the memory to reserve. ECS memoryReservation, Kubernetes requests.
    """

    load: Load
    bound: Bound
    workers: int
    large_workers: int
    reload_on_rss_mb: int
    hard_mb: int

    @property
    def need_mb(self) -> int:
        return math.ceil(self.bound.need_mb)

    @property
    def soft_mb(self) -> int:
        return min(self.hard_mb, step_up(self.bound.rest_mb))

    @property
    def ceilings_mb(self) -> tuple[int, int]:
        """How far a worker for small and one for large requests may grow with WORKER_CEILING=auto."""
        return ceilings(self.bound, self.large_workers, self.hard_mb)

    @property
    def max_requests(self) -> int:
        return MAX_REQUESTS

    @property
    def max_requests_delta(self) -> int:
        return MAX_REQUESTS // 10

    @property
    def max_worker_lifetime_s(self) -> int:
        return MAX_WORKER_LIFETIME_S

    @property
    def max_worker_lifetime_delta_s(self) -> int:
        return MAX_WORKER_LIFETIME_S // 10


def _choices(load: Load, workers: int | None, large_workers: int | None) -> Iterator[tuple[int, int]]:
    """Numbers of workers and large workers to try, in order of preference."""
    for count in [workers] if workers else range(load.workers, 0, -1):
        if large_workers is not None:
            if large_workers < count:
                yield count, large_workers
        elif count == 1:
            yield 1, 0
        else:
            for large in range(default_large_workers(count), 0, -1):
                yield count, large


def recommend(
    load: Load, memory_mb: float | None = None, workers: int | None = None, large_workers: int | None = None
) -> Sizing:
    """Settings for the load, in `memory_mb` if given, otherwise in the least memory that the rule allows.

    Unless given, `workers` is the number that was measured, or fewer where memory is short, but never more. Unless
    given, `large_workers` is a quarter of the workers, or fewer.

    Raises:
        TooSmall: no such settings fit into `memory_mb`.
        ValueError: `large_workers` leaves no worker for small requests.
    """
    tried: list[Bound] = []
    for count, large in _choices(load, workers, large_workers):
        least = least_reload_on_rss(load)
        smallest = bound(load, count, large, least)
        tried.append(smallest)
        hard = step_up(smallest.total_mb) if memory_mb is None else math.floor(memory_mb)
        if smallest.total_mb > hard:
            continue
        # Memory that is left is divided among the workers, but none gets more than twice an idle worker.
        spare = least + (hard - smallest.total_mb) / count
        reload_on_rss = least if memory_mb is None else max(least, math.floor(min(spare, 2 * load.worker_rss_mb)))
        return Sizing(load, bound(load, count, large, reload_on_rss), count, large, reload_on_rss, hard)
    if not tried or memory_mb is None:
        wanted = workers or load.workers
        raise ValueError(f"{counted(large_workers or 0, 'large worker')} of {wanted} leave none for small requests")
    raise TooSmall(memory_mb, min(tried, key=lambda smallest: smallest.total_mb))


def ceilings(bound: Bound, large_workers: int, limit_mb: float, files_mb: float = 0) -> tuple[int, int]:
    """How far a worker for small and one for large requests may grow, so that all of them together fit into the limit.

    Where the limit is below the rule's sum, such numbers would leave too little room to work. Then a worker may grow as
    far as the rule says, and several workers together may reach the limit.

    Args:
        bound: the rule's terms.
        large_workers: how many of the bound's workers are only for large requests; 0 is one pool.
        files_mb: how much of the limit files in memory may take.
    """
    budget_mb = limit_mb - bound.idle_mb - bound.headroom_mb - files_mb
    large_mb = bound.growth_mb + bound.need_mb
    even_mb = budget_mb / bound.workers
    if even_mb >= large_mb or not large_workers:
        worker_mb = math.floor(max(even_mb, large_mb))
        return worker_mb, worker_mb
    small_mb = (budget_mb - large_workers * large_mb) / (bound.workers - large_workers)
    return math.floor(max(small_mb, bound.growth_mb)), math.floor(large_mb)


@dataclass(frozen=True)
class Check:
    """The result of `check`.

    Attributes:
        bound: the rule's terms.
        limit_mb: the container's limit; None without one.
        fits: whether the bound is within the limit.
        possible: whether an idle server and one large request are within it; if not, the server must not start.
        line: one line for the log, with the numbers.
    """

    bound: Bound
    limit_mb: float | None
    fits: bool
    possible: bool
    line: str


def check(
    workers: int,
    large_workers: int,
    reload_on_rss_mb: int,
    large_need_mb: float,
    limit_mb: float | None,
    load: Load,
) -> Check:
    """Check, when the server starts, whether these settings fit into the container.

    Args:
        reload_on_rss_mb: 0 when workers are not replaced for their RSS; each may then keep what one large request took.
        large_need_mb: what one large request needs (LARGE_NEED_MB), with its margin.
        limit_mb: `lowtide.memory.limit_mb()`.
        load: gives idle memory and the RSS of a worker.
    """
    limit_of_worker = reload_on_rss_mb or load.worker_rss_mb + large_need_mb
    terms = bound(load, workers, large_workers, limit_of_worker, large_need_mb)
    if limit_mb is None:
        return Check(terms, None, True, True, f"Memory bound: {terms.words()}; no container limit to compare it with.")
    limit = f"the container's limit of {limit_mb:.0f} MiB"
    if terms.least_mb > limit_mb:
        line = (
            f"Refused: {limit} is below idle {terms.idle_mb:.0f} + one large request {terms.need_mb:.0f} "
            f"(LARGE_NEED_MB) = {terms.least_mb:.0f} MiB. `lowtide size` says what it takes."
        )
        return Check(terms, limit_mb, False, False, line)
    fits = terms.total_mb <= limit_mb
    verdict = f"within {limit}." if fits else f"over {limit}: it may be reached. `lowtide size` says what fits."
    return Check(
        terms, limit_mb, fits, True, f"{'Memory' if fits else 'Warning: memory'} bound: {terms.words()}, {verdict}"
    )
