"""The one sizing rule: how much memory a pre-forking server can come to need, and which settings keep it below a limit.

All memory is in MiB. The rule, conservative, with every term at its worst at the same moment:

    idle                                   master and workers at rest, sum of PSS, so shared pages count once
    + workers x (reload-on-rss - RSS)      what each worker may keep between requests before it is replaced;
                                           RSS of an idle worker, because that is what reload-on-rss is compared with
    + large requests at once x need        what one large request adds while it runs, on top of what its worker keeps
    + headroom                             what no worker owns: HEADROOM_MB
    <= the container's hard limit

With a pool of their own only LARGE_WORKERS requests can be large at once; with one pool (LARGE_WORKERS=0) all WORKERS.

Why differences of RSS may be added to a sum of PSS: a worker grows by pages of its own, which count once in both.
What the rule does not see: pages that a worker stops sharing with the master later than the idle server was measured
(measure after some requests), a request larger than the largest one measured, files in a tmpfs of the container, and
large requests that nginx does not send to the large pool.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lowtide.application import Application

# The rule for a sentence.
RULE = "idle memory + workers x (reload-on-rss - idle RSS) + large requests at once x what one adds + headroom"
# Measured in the shipped container: 4 for the kernel (page tables, sockets, stacks), 10 for the Python of the health
# check, 10 for a sampler or a shell inside, and as much again as a third of that for what else happens.
HEADROOM_MB = 32
# Three times GIVE_BACK_MB, from which on memory is given back: below it the heap's own breath would replace workers.
LEAST_GROWTH_MB = 24
# A peak hides between two looks, and the next body is a little larger than the one measured.
NEED_MARGIN = 1.1
# Limits are written in steps, so that they are easy to compare.
STEP_MB = 16
MAX_REQUESTS = 1000
MAX_WORKER_LIFETIME_S = 3600


@dataclass(frozen=True)
class Load:
    """What was measured of one server.

    Attributes:
        idle_mb: sum of PSS over master and workers at rest, after each worker has served some requests.
        workers: with how many workers that was.
        worker_rss_mb: RSS of one such worker, shared pages included.
        large_mb: what the largest request adds to its worker at its peak, as measured, without a margin.
        worker_private_mb: what one idle worker shares with nobody; None when it is not known.
        worker_rss_least_mb: where RSS is only known to lie in a range, its lower end; `worker_rss_mb` is the upper.
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

        Where the private part of a worker is not known, one more worker counts as its share of everything and one
        less saves nothing: too much in both directions.
        """
        more = workers - self.workers
        if self.worker_private_mb is not None:
            return max(self.idle_mb + more * self.worker_private_mb, self.worker_rss_mb)
        return self.idle_mb + max(0, more) * self.idle_mb / self.workers


def measured(application: Application) -> Load | None:
    """What the application's lowtide.toml says was measured of it; None where nothing was."""
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
        """The most at rest: every worker just below reload-on-rss, no large request running."""
        return self.idle_mb + self.workers * self.growth_mb + self.headroom_mb

    @property
    def total_mb(self) -> float:
        return self.rest_mb + self.large_at_once * self.need_mb

    @property
    def least_mb(self) -> float:
        """An idle server and one large request: below this nothing works."""
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
    """The rule for these settings; `large_workers` 0 is one pool, `need_mb` is the load's own unless given."""
    return Bound(
        idle_mb=load.idle_with(workers),
        workers=workers,
        growth_mb=max(0.0, reload_on_rss_mb - (load.worker_rss_least_mb or load.worker_rss_mb)),
        large_at_once=large_workers or workers,
        need_mb=load.need_mb if need_mb is None else need_mb,
    )


def least_reload_on_rss(load: Load) -> int:
    """Half as much again as an idle worker, and LEAST_GROWTH_MB over it at least: less recycles for ever."""
    return math.ceil(load.worker_rss_mb + max(LEAST_GROWTH_MB, load.worker_rss_mb / 2))


def supposed(workers: int, reload_on_rss_mb: float) -> Load:
    """The load of a server that nobody has measured, as far as its reload-on-rss tells.

    It is taken for half as much again as an idle worker (`least_reload_on_rss`), and for what one large request takes
    a worker to; nothing is taken for shared.
    """
    rss_mb = reload_on_rss_mb / 1.5
    return Load(workers * rss_mb, workers, rss_mb, (reload_on_rss_mb - rss_mb) / NEED_MARGIN)


def unmeasured_bound(workers: int, reload_on_rss_mb: float) -> Bound:
    """The rule for a server that nobody has measured, with one large request at a time."""
    load = supposed(workers, reload_on_rss_mb)
    return bound(load, workers, 1, reload_on_rss_mb, reload_on_rss_mb - load.worker_rss_mb)


def highest_reload_on_rss(workers: int, limit_mb: float) -> int:
    """The reload-on-rss with which `unmeasured_bound` just fits below a limit; at least 1."""
    each_mb = unmeasured_bound(workers, 3).total_mb - HEADROOM_MB
    return max(1, math.floor(3 * (limit_mb - HEADROOM_MB) / each_mb))


def default_large_workers(workers: int) -> int:
    """A quarter of the workers, one at least; a single worker has only one pool."""
    return max(1, workers // 4) if workers > 1 else 0


def step_up(mb: float) -> int:
    """The next full STEP_MB."""
    return math.ceil(mb / STEP_MB) * STEP_MB


class TooSmall(ValueError):
    """The memory given cannot carry the load.

    Attributes:
        bound: the smallest bound of what was asked for.
    """

    def __init__(self, memory_mb: float, bound: Bound) -> None:
        super().__init__(f"{bound.words()}, more than the limit of {memory_mb:.0f} MiB")
        self.memory_mb = memory_mb
        self.bound = bound


@dataclass(frozen=True)
class Sizing:
    """The settings that keep a load below a limit, MiB and seconds.

    Attributes:
        large_workers: of `workers`; 0 is one pool.
        hard_mb: the container's limit: beyond it the kernel kills. ECS memory, Kubernetes limits.
        soft_mb: what to reserve. ECS memoryReservation, Kubernetes requests.
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
    def evil_reload_on_rss_mb(self) -> int:
        """One worker may take what is left of the limit when every other worker is at its own worst."""
        return math.floor(self.reload_on_rss_mb + self.need_mb + self.hard_mb - self.bound.total_mb)

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
    """Numbers of workers and large workers to try, the most wanted first."""
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
    """Settings for the load, in `memory_mb` if given, else in the least memory that the rule allows.

    Workers that are not given are as many as were measured, or fewer where memory is short; memory is no reason for
    more. Large workers that are not given are a quarter of them, or fewer.

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
        # What is left is shared out among the workers, up to twice an idle worker.
        spare = least + (hard - smallest.total_mb) / count
        reload_on_rss = least if memory_mb is None else max(least, math.floor(min(spare, 2 * load.worker_rss_mb)))
        return Sizing(load, bound(load, count, large, reload_on_rss), count, large, reload_on_rss, hard)
    if not tried or memory_mb is None:
        wanted = workers or load.workers
        raise ValueError(f"{counted(large_workers or 0, 'large worker')} of {wanted} leave none for small requests")
    raise TooSmall(memory_mb, min(tried, key=lambda each: each.total_mb))


def ceilings(found: Bound, large_workers: int, limit_mb: float, files_mb: float = 0) -> tuple[int, int]:
    """How far a small and a large worker may grow over an idle one, so that all of them at once stay below the limit.

    Where the limit is below the rule's sum, no such numbers leave room to work: then a worker may grow as far as the
    rule says, and the limit may be met by several at once.

    Args:
        large_workers: of the bound's workers; 0 is one pool.
        files_mb: what files in memory may take of the limit.
    """
    budget_mb = limit_mb - found.idle_mb - found.headroom_mb - files_mb
    large_mb = found.growth_mb + found.need_mb
    even_mb = budget_mb / found.workers
    if even_mb >= large_mb or not large_workers:
        each_mb = math.floor(max(even_mb, large_mb))
        return each_mb, each_mb
    small_mb = (budget_mb - large_workers * large_mb) / (found.workers - large_workers)
    return math.floor(max(small_mb, found.growth_mb)), math.floor(large_mb)


@dataclass(frozen=True)
class Check:
    """What `check` found.

    Attributes:
        bound: the rule's terms.
        limit_mb: the container's limit, None without one.
        fits: the bound is within the limit.
        possible: an idle server and one large request are; if not, do not start.
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
    """Whether these settings fit into the container, said at the start of the server.

    Args:
        reload_on_rss_mb: 0 when workers are not replaced for their RSS; each may then keep what one large request took.
        large_need_mb: what one large request needs (LARGE_NEED_MB), with its margin.
        limit_mb: `lowtide.memory.limit_mb()`.
        load: gives idle memory and RSS of a worker.
    """
    limit_of_worker = reload_on_rss_mb or load.worker_rss_mb + large_need_mb
    found = bound(load, workers, large_workers, limit_of_worker, large_need_mb)
    if limit_mb is None:
        return Check(found, None, True, True, f"Memory bound: {found.words()}; no container limit to compare it with.")
    limit = f"the container's limit of {limit_mb:.0f} MiB"
    if found.least_mb > limit_mb:
        line = (
            f"Refused: {limit} is below idle {found.idle_mb:.0f} + one large request {found.need_mb:.0f} "
            f"(LARGE_NEED_MB) = {found.least_mb:.0f} MiB. `lowtide size` says what it takes."
        )
        return Check(found, limit_mb, False, False, line)
    fits = found.total_mb <= limit_mb
    verdict = f"within {limit}." if fits else f"over {limit}: it may be reached. `lowtide size` says what fits."
    return Check(
        found, limit_mb, fits, True, f"{'Memory' if fits else 'Warning: memory'} bound: {found.words()}, {verdict}"
    )
