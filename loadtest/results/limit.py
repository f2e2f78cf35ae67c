"""What `make limit` writes: how each variant ended in a container that was just large enough."""

from msgspec import Struct

from loadtest.results import words
from loadtest.results.tables import Table
from loadtest.results.types import Environment

HEADING = ["in the container", "requests", "failed", "OOM kills", "highest working set", "PSS at the end"]


class Row(Struct):
    """One variant; memory in MiB."""

    variant: str
    requests: int
    failures: int
    oom_kills: int | None
    highest_mb: float
    end_mb: float | None


class Limit(Struct):
    """`limit.json`. The limit is `floors` times `floor_mb`, what an ideal server would average."""

    environment: Environment
    machine: str
    workers: int
    reload_on_rss: int
    floors: float
    floor_mb: float
    idle_mb: float
    limit_mb: int
    rows: list[Row]


def table(limit: Limit) -> Table:
    shown = Table(HEADING)
    for row in limit.rows:
        figures = (row.requests, row.failures, row.oom_kills, row.highest_mb, row.end_mb)
        shown.rows.append([row.variant, *map(words.number, figures)])
    shown.caption = (
        f"Limit {limit.limit_mb} MiB, {limit.floors:g} times the floor of {limit.floor_mb:.0f} (idle "
        f"{limit.idle_mb:.0f}); memory in MiB. {limit.workers} workers, reload-on-rss {limit.reload_on_rss}. "
        f"{words.machine(limit.environment, limit.machine, 'docker')}"
    )
    return shown
