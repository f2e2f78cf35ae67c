"""Judges whether a series of values grows, and whether that is already certain. Every threshold is in LIMITS."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple


class Limits(NamedTuple):
    """The thresholds. Growth or loss below them is noise, or too little to matter.

    Attributes:
        live_bytes: a leak: live Python heap gained by each request. 100 bytes make 100 MB in a million requests.
        malloc_bytes: native growth: what malloc holds, gained by each request beyond the live Python heap.
        mapped_bytes: native growth outside malloc: resident memory, gained by each request, after giving back.
        queries: Django's query log: statements more after each request.
        outlasts: growth that goes on for this number of requests outlasts what is pruned once in some hundred.
        costs_mb: growth that costs so much is called by its name without looking longer, MiB.
        slows: growth whose pace falls below this share of what it was may come to its end.
        cache_bytes: a cache: what the live heap gained in all before it stopped.
        kept_mb: retention and fragmentation: resident memory that no live object explains, MiB.
        requests: fewer measured requests than this weaken every verdict.
    """

    live_bytes: float = 100
    malloc_bytes: float = 1024
    mapped_bytes: float = 64 * 1024
    queries: float = 0.5
    outlasts: int = 2500
    costs_mb: float = 64.0
    slows: float = 0.7
    cache_bytes: float = 64 * 1024
    kept_mb: float = 8.0
    requests: int = 20


LIMITS = Limits()
WINDOWS = 5
_POINTS = 60


@dataclass(frozen=True)
class Trend:
    """Where a series goes. "The second half" is that of the requests, not of the values.

    Attributes:
        slope: its growth a request over the second half: the median of the slopes between all pairs of points
            (Theil and Sen), which single outliers do not move.
        slope_before: the same over the second quarter. A cache that fills in the first does not count as a slower pace.
        steps: differences between the medians of five successive windows of the second half.
        rose: by how much the lowest value of the last window is above the highest of the first window.
        floor_rose: by how much the lowest value of the last two windows is above the middle of the first.
        grew: from its first value to the median of its last window.
        highest: from its first value to the highest of those medians.
        rises: how many values are higher than all before.
        requests: between its first and its last value.
    """

    slope: float
    slope_before: float
    steps: tuple[float, ...]
    rose: float
    floor_rose: float
    grew: float
    highest: float
    rises: int
    requests: int

    def grows(self, limit: float) -> bool:
        """Still growing at the end: fast enough, from each window to the next, and never back to where it was."""
        return self.slope >= limit and self.rose > 0 and all(step > 0 for step in self.steps)

    def open(self, limit: float) -> bool:
        """Growing, or going up and down without an end in sight, so that more requests would tell more."""
        return self.grows(limit) or (self.slope >= limit and self.floor_rose > 0)

    def slows(self) -> bool:
        """Growing at a lower pace than before."""
        return self.slope < LIMITS.slows * self.slope_before

    def endless(self, limit: float) -> bool:
        """Growing longer than bounded structures do."""
        return self.grows(limit) and self.requests >= LIMITS.outlasts * 0.9 and not self.slows()

    def bounded(self, limit: float) -> bool:
        """Of what is not open: whether it grew in several steps, by `limit` or more, before it stopped or fell."""
        return self.highest >= limit and self.rises >= 3


def _split(points: Sequence[tuple[float, float]], count: int) -> list[Sequence[tuple[float, float]]]:
    """`count` successive windows of points, or one for each point where they are fewer."""
    count = min(count, len(points))
    edges = [len(points) * part // count for part in range(count + 1)]
    return [points[start:end] for start, end in pairwise(edges)]


def _middle(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return median(number for number, _ in points), median(value for _, value in points)


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of these points (number, value), or of windows of them."""
    middles = [_middle(window) for window in _split(points, _POINTS)]
    slopes = [(b - a) / (j - i) for at, (i, a) in enumerate(middles) for j, b in middles[at + 1 :]]
    return median(slopes) if slopes else 0.0


def trend(numbers: Sequence[float], values: Sequence[float]) -> Trend:
    """The trend of at least ten values, each after the request with that number."""
    points = list(zip(numbers, values, strict=True))
    middle = (numbers[0] + numbers[-1] + 1) / 2
    half = [point for point in points if point[0] >= middle]
    windows = [[value for _, value in window] for window in _split(half, WINDOWS)]
    medians = [median(window) for window in windows]
    highest, rises = values[0], 0
    for value in values:
        if value > highest:
            highest, rises = value, rises + 1
    return Trend(
        slope=theil_sen(half),
        slope_before=theil_sen([point for point in points if (numbers[0] + middle) / 2 <= point[0] < middle]),
        steps=tuple(b - a for a, b in pairwise(medians)),
        rose=min(windows[-1]) - max(windows[0]),
        floor_rose=min(*windows[-1], *windows[-2]) - medians[0],
        grew=medians[-1] - values[0],
        highest=max(medians) - values[0],
        rises=rises,
        requests=int(numbers[-1] - numbers[0]) + 1,
    )
