"""What a result directory holds, as types: the experiment writes its files through them, and the report reads them.

Memory is in MiB, and PSS unless the summary says otherwise; `_s` are seconds, `_ms` milliseconds; None stands for a
figure that was not measured. A key that is not listed here is ignored, so a newer experiment may write more.
"""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

# The bounds keep out the infinities and NaN, which a CSV file can spell.
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Name = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z")]

Memory = Literal["PSS", "working set"]
Reason = Literal["requests", "rss", "lifetime", "idle", "signal", "died", "hung", "oom", "ceiling"]
EventName = Literal["load-start", "load-end", "fault"] | Reason


class ResultError(Exception):
    """A result file is missing or malformed. The message is one line that names the file and the key."""


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`, or None where one of them is unknown or the whole is zero."""
    return part / whole if part is not None and whole else None


class Environment(Struct):
    """The machine and the versions that serve. All are None for a deployment, which is seen from outside only."""

    cpus: Count | None
    memory_mb: Amount | None
    python: str | None
    uwsgi: str | None
    django: str | None
    libc: str | None


class Load(Struct):
    seed: int
    workers: Count | None
    requests: Count
    large_requests: Count
    large_body_mb: Amount


class Recycles(Struct):
    """Workers replaced, by reason. `died` counts every sudden end, those of `hung` and `oom` among them."""

    requests: Count | None
    rss: Count | None
    lifetime: Count | None
    died: Count | None
    idle: Count | None = 0
    signal: Count | None = 0
    hung: Count | None = 0
    oom: Count | None = 0
    ceiling: Count | None = 0

    def total(self) -> int | None:
        counts = [self.requests, self.rss, self.lifetime, self.died, self.idle, self.signal, self.ceiling]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


class Route(Struct):
    """What the requests of one route took, from the ledger of uWSGI's workers (lowtide/ledger.py).

    Peaks are above what the worker held before; `retained_mb` and `given_back_mb` are sums over all requests.
    """

    route: Name
    method: Name
    count: Count
    peak_p50_mb: Amount
    peak_max_mb: Amount
    retained_mb: Number
    given_back_mb: Amount
    seconds: Amount


class Variant(Struct, kw_only=True, omit_defaults=True):
    """One variant of the stack, or a deployment. `server_requests` is None for a server that does not count them."""

    name: Name
    label: str | None = None
    # Where the settings of a row that is not ours come from.
    source: str | None = None
    server: str | None = None
    idle_mb: Amount | None
    worker_rss_mb: Amount | None = None
    peak_mb: Amount | None
    mean_mb: Amount | None
    end_mb: Amount | None
    requests: Count
    server_requests: Count | UnsetType | None = UNSET
    failures: Count
    oom_kills: Count | None
    wall_s: Amount | None
    small_p50_ms: Amount | None
    small_p99_ms: Amount | None
    small_max_ms: Amount | None
    large_p50_ms: Amount | None
    # From when a request was due; the ones above are from when it was sent.
    small_due_p50_ms: Amount | None = None
    small_due_p99_ms: Amount | None = None
    small_due_max_ms: Amount | None = None
    large_due_p50_ms: Amount | None = None
    # Large requests answered in a second of the time that they took together.
    large_per_s: Amount | None = None
    # Requests that were due while every user still waited for an answer.
    pushed_back: Count | None = None
    recycles: Recycles
    # The request that took most while memory was highest, as method and route.
    peak_request: Name | None = None
    # Those with the highest peaks first.
    routes: list[Route] = []
    locust_report: str | None = None
    # After several rounds each single round; the figures above are then medians.
    rounds: list["Variant"] = []

    def end_to_idle(self) -> float | None:
        return ratio(self.end_mb, self.idle_mb)

    def spread(self, figure: str) -> tuple[float, float] | None:
        """The least and the most of a figure over several rounds; None after one."""
        values = [value for single in self.rounds if (value := getattr(single, figure)) is not None]
        return (min(values), max(values)) if values else None

    def over(self, other: "Variant | None", figure: str) -> float | None:
        """A figure divided by the other variant's; after several rounds the median of the ratios within each round."""
        known = self.ratios_to(other, figure) if other else []
        return statistics.median(known) if known else None

    def ratios_to(self, other: "Variant", figure: str) -> list[float]:
        """A figure divided by the other variant's, of each round in which both are known."""
        pairs = zip(self.rounds or [self], other.rounds or [other], strict=False)
        ratios = [ratio(getattr(own, figure), getattr(its, figure)) for own, its in pairs]
        return [value for value in ratios if value is not None]


class Need(Struct):
    """What one large request alone adds to a fresh worker.

    Attributes:
        mib_s: the integral of what it adds over the time that it takes, MiB s.
        peak_mb: the most it adds at once, MiB.
        seconds: how long it takes.
    """

    mib_s: Amount
    peak_mb: Amount
    seconds: Amount


class Check(Struct):
    """One comparison; `at_least` says whether the limit is a least, and is None in files that do not say it."""

    name: Name
    value: Number | None
    limit: Number | None
    holds: bool
    at_least: bool | None = None


class Verdict(Struct):
    holds: bool
    checks: list[Check]


class Summary(Struct, kw_only=True):
    """`summary.json`."""

    schema: Literal[1] = 1
    # The name of the service; files from before it was recorded are of the template's own.
    service: str = "lowtide"
    runtime: str
    environment: Environment
    scenario: str | None = None
    started: str | None = None
    # The processor's name.
    machine: str | None = None
    # The machine's load average over the minute before the experiment began, which shows the work of other programs.
    load_average: Amount | None = None
    # What kind of memory the figures are.
    memory: Memory = "PSS"
    rounds: Count = 1
    # Sizing variables that differ from what ships.
    settings: dict[str, str] = {}
    # Variants that could not be measured, and why.
    left_out: dict[str, str] = {}
    load: Load
    # What an ideal server would average, and the needs of requests from which that is reckoned, by their names.
    floor_mb: Amount | None
    needs: dict[str, Need] = {}
    variants: Annotated[list[Variant], Meta(min_length=1)]
    verdict: Verdict

    def variant(self, name: str) -> Variant | None:
        return next((variant for variant in self.variants if variant.name == name), None)


class Sample(Struct):
    """One row of `samples.csv`; `t_s` counts from the start of the variant's load, negative before it."""

    variant: str
    t_s: Number
    pss_mb: Amount | None
    working_set_mb: Amount | None
    requests: Amount | None
    workers: Amount | None


class Event(Struct):
    """One row of `events.csv`: a phase that began or ended, or a worker that was replaced or killed."""

    variant: str
    t_s: Number
    event: EventName
    worker: Count | None = None
    detail: str | None = None


Options = dict[str, list[str]]


@dataclass(frozen=True)
class Results:
    """A whole result directory. Every variant is a key of each mapping; of `options` only those that have a file."""

    directory: Path
    summary: Summary
    samples: dict[str, list[Sample]]
    events: dict[str, list[Event]]
    options: dict[str, Options] = field(default_factory=dict)
