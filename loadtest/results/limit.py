"""What `make limit` writes: how each variant ended in a container that was just large enough."""

import statistics

from msgspec import Struct

from loadtest.results import words
from loadtest.results.tables import Table
from loadtest.results.types import Environment

HEADING = ["in the container", "requests", "failed", "OOM kills", "highest working set", "PSS at the end"]
SPEED = ["large requests a second", "/ lowtide"]


class Row(Struct, omit_defaults=True):
    """One variant; memory in MiB. `large_per_s` is of each round, and empty where one large request runs at a time."""

    variant: str
    requests: int
    failures: int
    oom_kills: int | None
    highest_mb: float
    end_mb: float | None
    large_per_s: list[float] = []


class Limit(Struct, omit_defaults=True):
    """`limit.json` or `mixed.json`.

    The limit is `floors` times `floor_mb`, what an ideal server would average. It is more where an idle server and the
    largest request, which needs `largest_mb` with a margin, would not fit into that; with None nobody asked.
    """

    environment: Environment
    machine: str
    workers: int
    reload_on_rss: int
    floors: float
    floor_mb: float
    idle_mb: float
    limit_mb: int
    rows: list[Row]
    largest_mb: int | None = None


def table(limit: Limit) -> Table:
    speed = any(row.large_per_s for row in limit.rows)
    lowtide = next((row.large_per_s for row in limit.rows if row.variant == "lowtide"), [])
    shown = Table([*HEADING, *(SPEED if speed else [])])
    for row in limit.rows:
        figures = (row.requests, row.failures, row.oom_kills, row.highest_mb, row.end_mb)
        cells = [row.variant, *map(words.number, figures)]
        if speed:
            ratios = [own / other for own, other in zip(row.large_per_s, lowtide, strict=False) if other]
            cells += [with_spread(row.large_per_s), with_spread(ratios)]
        shown.rows.append(cells)
    rounds = max((len(row.large_per_s) for row in limit.rows), default=0)
    medians = f" Medians of {rounds} rounds, in brackets the least and the most." if rounds > 1 else ""
    shown.caption = (
        f"Limit {limit.limit_mb} MiB, {reason(limit)} (idle {limit.idle_mb:.0f}); memory in MiB.{medians} "
        f"{limit.workers} workers, reload-on-rss {limit.reload_on_rss}. "
        f"{words.machine(limit.environment, limit.machine, 'docker')}"
    )
    return shown


def reason(limit: Limit) -> str:
    """Why the limit is what it is."""
    floors = f"{limit.floors:g} times the floor of {limit.floor_mb:.0f}"
    if limit.limit_mb <= round(limit.floors * limit.floor_mb):
        return floors
    return f"an idle server and the largest request alone, which needs {limit.largest_mb}; that is more than {floors}"


def with_spread(rounds: list[float]) -> str:
    """The median; after several rounds with the least and the most in brackets."""
    median = words.number(statistics.median(rounds) if rounds else None, 2)
    return f"{median} ({min(rounds):,.2f} to {max(rounds):,.2f})" if len(rounds) > 1 else median
