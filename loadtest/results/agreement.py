"""Whether two results say the same.

Figures in MiB and ms differ between machines, so ratios are compared, which depend on the server.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loadtest.results import words
from loadtest.results.tables import Table
from loadtest.results.types import Summary, Variant, ratio

# How far the ranges of two ratios over their rounds may be apart.
TOLERANCE = 0.10
# A load average for each processor above this means that other programs were at work when the experiment began.
BUSY = 0.25

Ratio = Callable[[Variant, Variant | None, float | None], float | None]


def _over_without(figure: str) -> Ratio:
    return lambda own, without, floor_mb: ratio(getattr(own, figure), getattr(without, figure, None))


# The ratios by their headings. Each is reckoned from a variant, `without` in the same round, and the ideal mean in MiB.
RATIOS: dict[str, Ratio] = {
    "peak / idle": lambda own, without, floor_mb: ratio(own.peak_mb, own.idle_mb),
    "end / idle": lambda own, without, floor_mb: own.end_to_idle(),
    "mean / ideal": lambda own, without, floor_mb: ratio(own.mean_mb, floor_mb),
    "p99 / without": _over_without("small_p99_ms"),
    "due p99 / without": _over_without("small_due_p99_ms"),
    "large p50 / without": _over_without("large_p50_ms"),
}


@dataclass(frozen=True)
class Spread:
    """The median of a ratio over the rounds, the least and the most."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        told = words.multiple(self.median)
        if self.least == self.most:
            return told
        return f"{told} ({words.multiple(self.least)} to {words.multiple(self.most)})"


@dataclass(frozen=True)
class Comparison:
    variant: str
    name: str
    own: Spread
    other: Spread

    @property
    def agrees(self) -> bool:
        """Whether the rounds of both overlap, with TOLERANCE between them."""
        higher, lower = sorted((self.own, self.other), key=lambda spread: spread.median, reverse=True)
        return higher.least <= lower.most * (1 + TOLERANCE)


def spreads(summary: Summary) -> dict[tuple[str, str], Spread]:
    """Every ratio that the summary has figures for, by the names of variant and ratio."""
    without = summary.variant("without")
    bases = (without.rounds or [without]) if without else []
    told = {}
    for variant in summary.variants:
        for name, take in RATIOS.items():
            values = [
                value
                for index, single in enumerate(variant.rounds or [variant])
                if (value := take(single, bases[index] if index < len(bases) else None, summary.floor_mb)) is not None
            ]
            if values and not (variant.name == "without" and name.endswith("without")):
                told[variant.name, name] = Spread(statistics.median(values), min(values), max(values))
    return told


def compare(own: Summary, other: Summary) -> list[Comparison]:
    """The ratios that both results have, in the order of `own`."""
    others = spreads(other)
    return [Comparison(*key, spread, others[key]) for key, spread in spreads(own).items() if key in others]


def table(comparisons: list[Comparison]) -> Table:
    rows = [
        [one.variant, one.name, "agrees" if one.agrees else "differs", str(one.own), str(one.other)]
        for one in comparisons
    ]
    return Table(["variant", "ratio", "", "here", "published"], rows, texts=3)


def reasons(own: Summary, other: Summary) -> Iterator[str]:
    """What is not the same in both and may explain a difference, the likeliest first."""
    named = {
        "runtime": (own.runtime, other.runtime),
        "scenario": (own.scenario, other.scenario),
        "seed": (own.load.seed, other.load.seed),
        "workers": (own.load.workers, other.load.workers),
        "settings": (_told(own.settings), _told(other.settings)),
        "requests": (own.load.requests, other.load.requests),
        "processors": (own.environment.cpus, other.environment.cpus),
        "processor": (own.machine, other.machine),
        "Python": (own.environment.python, other.environment.python),
        "uWSGI": (own.environment.uwsgi, other.environment.uwsgi),
        "Django": (own.environment.django, other.environment.django),
        "C library": (own.environment.libc, other.environment.libc),
    }
    for summary, where in ((own, "here"), (other, "when it was published")):
        cpus, load = summary.environment.cpus, summary.load_average
        if cpus and load is not None and load / cpus > BUSY:
            yield f"Other work on the machine {where}: a load average of {load:.1f} on {cpus} processors at the start."
    for name, (here, published) in named.items():
        if here != published:
            yield f"{name}: {here} here, {published} published."
    if own.rounds == 1:
        yield "One round only: ROUNDS=5 make loadtest shows how far the rounds of this machine spread."


def _told(settings: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "as shipped"
