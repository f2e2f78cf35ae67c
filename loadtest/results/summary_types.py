"""What a result directory holds, as types, and the reading of its files.

Memory is in MiB, and PSS unless the summary says otherwise; `_s` are seconds, `_ms` milliseconds; None stands for a
figure that was not measured.
Keys that are not listed here are ignored, so a runner may write more.
"""

import csv
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

# The bounds keep out the infinities and NaN, which a CSV file can spell.
Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
Amount = Annotated[float, Meta(ge=0, le=1e12)]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Name = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+\Z")]

EventName = Literal[
    "load-start", "load-end", "requests", "rss", "lifetime", "idle", "signal", "died", "hung", "oom"
]  # fmt: skip


class ResultError(Exception):
    """A result file is missing or malformed. The message is one line that names the file and the key."""


class Environment(Struct):
    """What serves. All is None for a deployment, which is seen from outside."""

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
    """Workers replaced, by reason. `died` is every sudden end: hung ones and those killed for memory are among them."""

    requests: Count | None
    rss: Count | None
    lifetime: Count | None
    died: Count | None
    signal: Count | None = 0
    idle: Count | None = 0

    def total(self) -> int | None:
        counts = msgspec.structs.astuple(self)
        return None if None in counts else sum(counts)


class Variant(Struct):
    name: Name
    idle_mb: Amount | None
    peak_mb: Amount | None
    mean_mb: Amount | None
    end_mb: Amount | None
    requests: Count
    failures: Count
    oom_kills: Count | None
    wall_s: Amount | None
    small_p50_ms: Amount | None
    small_p99_ms: Amount | None
    small_max_ms: Amount | None
    large_p50_ms: Amount | None
    recycles: Recycles
    label: str | None = None
    locust_report: str | None = None
    server: str | None = None
    # Of several rounds each single one; the figures above are then medians.
    rounds: list["Variant"] = []

    def end_to_idle(self) -> float | None:
        return ratio(self.end_mb, self.idle_mb)

    def spread(self, figure: str) -> tuple[float, float] | None:
        """The least and the most of a figure over several rounds; None after one."""
        values = [value for each in self.rounds if (value := getattr(each, figure)) is not None]
        return (min(values), max(values)) if values else None

    def over(self, other: "Variant | None", figure: str) -> float | None:
        """A figure over the other variant's; of several rounds the median of the ratios, each within a round."""
        if other is None:
            return None
        pairs = zip(self.rounds or [self], other.rounds or [other], strict=False)
        ratios = [ratio(getattr(own, figure), getattr(its, figure)) for own, its in pairs]
        known = [each for each in ratios if each is not None]
        return statistics.median(known) if known else None


class Check(Struct):
    """One comparison; `at_least` tells the direction of the limit, where the runner wrote it."""

    name: Name
    value: Number | None
    limit: Number | None
    holds: bool
    at_least: bool | None = None


class Verdict(Struct):
    holds: bool
    checks: list[Check]


class Summary(Struct):
    """`summary.json`."""

    schema: Literal[1]
    runtime: str
    environment: Environment
    load: Load
    floor_mb: Amount | None
    variants: Annotated[list[Variant], Meta(min_length=1)]
    verdict: Verdict
    scenario: str | None = None
    started: str | None = None
    machine: str | None = None
    # What the figures of memory are.
    memory: Literal["PSS", "working set"] = "PSS"
    rounds: Count = 1
    # Variants that could not be measured, and why.
    left_out: dict[str, str] = {}

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
    worker: str | None
    detail: str | None


Options = dict[str, list[str]]


@dataclass(frozen=True)
class Results:
    """A whole result directory. Every variant is a key of each mapping, except of `options` where it has no file."""

    directory: Path
    summary: Summary
    samples: dict[str, list[Sample]]
    events: dict[str, list[Event]]
    options: dict[str, Options]


Row = TypeVar("Row", Sample, Event)


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part / whole`, or None where one of them is unknown or the whole is zero."""
    return part / whole if part is not None and whole else None


def read(directory: Path) -> Results:
    """Read and check the files of a result directory. Raises ResultError."""
    summary = _summary(directory / "summary.json")
    names = [variant.name for variant in summary.variants]
    options = {name: directory / f"config-{name}.ini" for name in names if "/" not in name}
    return Results(
        directory,
        summary,
        _by_variant(directory / "samples.csv", Sample, names),
        _by_variant(directory / "events.csv", Event, names),
        {name: _options(path) for name, path in options.items() if path.exists()},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: run `make loadtest` to make it") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ResultError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _summary(path: Path) -> Summary:
    try:
        summary = msgspec.json.decode(_text(path), type=Summary)
    except msgspec.DecodeError as error:
        raise ResultError(f"{path}: {error}") from None
    names = [variant.name for variant in summary.variants]
    for name in names:
        if names.count(name) > 1:
            raise ResultError(f"{path}: variant {name!r} is listed twice - at `$.variants`")
    checks = summary.verdict.checks
    if checks and summary.verdict.holds != all(check.holds for check in checks):
        raise ResultError(f"{path}: the verdict contradicts its checks - at `$.verdict.holds`")
    return summary


def _by_variant(path: Path, row_type: type[Row], names: list[str]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for line, row in _rows(path, row_type):
        if row.variant not in rows:
            raise ResultError(f"{path} line {line}: variant {row.variant!r} is not in summary.json")
        rows[row.variant].append(row)
    for of_variant in rows.values():
        of_variant.sort(key=lambda row: row.t_s)
    return rows


def _rows(path: Path, row_type: type[Row]) -> Iterator[tuple[int, Row]]:
    lines = csv.DictReader(_text(path).splitlines(), strict=True)
    try:
        missing = [name for name in row_type.__struct_fields__ if name not in (lines.fieldnames or [])]
        if missing:
            raise ResultError(f"{path} line 1: column {missing[0]!r} is missing")
        for row in lines:
            cells = {key: value or None for key, value in row.items() if key}
            yield lines.line_num, msgspec.convert(cells, row_type, strict=False)
    except msgspec.ValidationError as error:
        raise ResultError(f"{path} line {lines.reader.line_num}: {error}") from None
    except csv.Error as error:
        raise ResultError(f"{path} line {lines.reader.line_num}: {error}") from None


def _options(path: Path) -> Options:
    """`key = value` lines; a key that is repeated collects its values in order."""
    options: Options = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.startswith("["):
            continue
        if not equals or not key:
            raise ResultError(f"{path} line {number}: expected `key = value`, got {line.strip()[:60]!r}")
        options.setdefault(key, []).append(value)
    return options
