"""What `make forks` writes: what replacing a worker costs, by what was done before the fork."""

from msgspec import Struct

from loadtest.results import words
from loadtest.results.tables import Table
from loadtest.results.types import Environment

HEADING = ["measure", "away ms", "its worst", "fresh MiB", "idle MiB", "first request ms", "its worst", "later ones ms"]


class Row(Struct):
    """One measure with those above it. `away` is how long the place of a worker that was told to leave stayed empty."""

    label: str
    away_ms: float
    away_worst_ms: float
    fresh_mb: float
    idle_mb: float
    first_ms: float
    first_worst_ms: float
    later_ms: float


class Forks(Struct):
    """`forks.json`. `rounds` workers and first requests stand behind each figure."""

    environment: Environment
    machine: str
    workers: int
    rounds: int
    rows: list[Row]


def table(forks: Forks) -> Table:
    shown = Table(HEADING)
    for row in forks.rows:
        whole = (row.away_ms, row.away_worst_ms, row.fresh_mb, row.idle_mb)
        fine = (row.first_ms, row.first_worst_ms, row.later_ms)
        shown.rows.append([row.label, *map(words.number, whole), *(words.number(figure, 1) for figure in fine)])
    shown.caption = (
        f"PSS of master and {forks.workers} workers; {forks.rounds} workers and first requests in each row. "
        f"{words.machine(forks.environment, forks.machine, 'local')}"
    )
    return shown
