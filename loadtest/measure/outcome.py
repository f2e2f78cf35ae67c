"""Makes the result of a run from what was sampled and logged: its entry in the summary, and what the picture shows."""

import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from loadtest.load.requests_log import Latencies
from loadtest.measure.recycles import Event
from loadtest.measure.sampling import Sample
from loadtest.results import types
from loadtest.results.types import Recycles

# The reasons that mean a sudden end of a worker.
SUDDEN = ("died", "hung", "oom")
UNKNOWN = Recycles(None, None, None, None, None, None, None, None, None)


@dataclass(frozen=True)
class Run:
    """One variant, or a deployment, measured once."""

    variant: types.Variant
    samples: list[types.Sample]
    events: list[types.Event]


def run(
    name: str,
    samples: list[Sample],
    events: list[Event],
    latencies: Latencies,
    load: tuple[float, float],
    **figures: Any,
) -> Run:
    """`load` says when the list began and when it was done, Unix seconds; `figures` are fields of `types.Variant`."""
    start, end = load
    loaded = [sample.memory_mb for sample in samples if start <= sample.time <= end]
    before = [sample.requests or 0 for sample in samples if sample.time < start]
    return Run(
        types.Variant(
            name=name,
            peak_mb=round(max(sample.memory_mb for sample in samples if start <= sample.time), 1),
            mean_mb=round(statistics.fmean(loaded), 1) if loaded else None,
            **asdict(latencies),
            wall_s=round(end - start, 2),
            locust_report=f"locust-{name}.html",
            **figures,
        ),
        [_of_result(name, sample, start, before[-1] if before else 0) for sample in samples],
        [_mark(name, event, start) for event in _in_order(events, start, end)],
    )


def recycles(events: list[Event]) -> Recycles:
    """How many workers were replaced, by reason."""
    counts: Counter[str] = Counter(event.event for event in events)
    named = {
        reason: counts[reason] for reason in ("requests", "rss", "lifetime", "idle", "signal", "hung", "oom", "ceiling")
    }
    return Recycles(died=sum(counts[reason] for reason in SUDDEN), **named)


def _in_order(events: list[Event], start: float, end: float) -> list[Event]:
    return sorted([Event(start, "load-start"), *events, Event(end, "load-end")], key=lambda event: event.time)


def _of_result(name: str, sample: Sample, start: float, before: int) -> types.Sample:
    served = max(0, (sample.requests or 0) - before)
    t_s = round(sample.time - start, 2)
    return types.Sample(name, t_s, sample.pss_mb, sample.working_set_mb, served, sample.workers)


def _mark(name: str, event: Event, start: float) -> types.Event:
    return types.Event(name, round(event.time - start, 2), event.event, event.worker, event.detail or None)
