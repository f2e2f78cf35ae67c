"""Makes one entry of `variants` from several rounds of a variant."""

import statistics
from typing import Any, TypeVar

from msgspec import structs

from loadtest.results.types import Recycles, Variant

# Of these the figure of the worst round is taken: a median would hide a round in which something was lost.
WORST = ("failures", "oom_kills")
Figures = TypeVar("Figures", Variant, Recycles)


def merged(rounds: list[Variant]) -> Variant:
    """The median of each figure, and the worst of failures and OOM kills. Its `rounds` holds each round, in order."""
    return rounds[0] if len(rounds) == 1 else structs.replace(_medians(rounds), rounds=rounds)


def _medians(rows: list[Figures]) -> Figures:
    names = rows[0].__struct_fields__
    return structs.replace(rows[0], **{name: _median(name, [getattr(row, name) for row in rows]) for name in names})


def _median(name: str, values: list[Any]) -> Any:
    """The median of a figure over the rounds. A value that is not a number in every round is taken from the first."""
    if all(isinstance(value, Recycles) for value in values):
        return _medians(values)
    if not all(isinstance(value, int | float) for value in values):
        return values[0]
    if name in WORST:
        return max(values)
    if all(isinstance(value, int) for value in values):
        return statistics.median_low(values)
    return round(statistics.median(values), 2)
