"""Which requests took the memory: from the ledger of uWSGI's workers, and its lines for large requests in their log."""

import json
from typing import Any

from loadtest.measure import CannotMeasure
from loadtest.measure.runtimes import Runtime
from loadtest.measure.sampling import Sample
from loadtest.results.types import Route


def ledger(runtime: Runtime) -> list[Route]:
    """What the requests of each route took since the start, the highest peak first; empty with LEDGER=0."""
    try:
        answer = json.loads(runtime.run(["python", "-m", "lowtide", "top", "--once", "--format", "json"]))
    except CannotMeasure:
        return []
    names = Route.__struct_fields__
    return [Route(**{name: _printable(row[name]) for name in names}) for row in answer["routes"]]


def of_peak(lines: list[str], samples: list[Sample], start: float) -> str | None:
    """The largest request that ran when memory was highest after `start` (Unix seconds); None where none was large."""
    loaded = [sample for sample in samples if sample.time >= start]
    if not loaded:
        return None
    peak = max(loaded, key=lambda sample: sample.memory_mb)
    requests = [json.loads(line) for line in lines if line.startswith('{"event": "large-request"')]
    # A line is written when its request has ended.
    running = [line for line in requests if line["time"] - line["seconds"] <= peak.time <= line["time"]]
    if not running:
        return None
    largest = max(running, key=lambda line: line["peak_mb"])
    name: str = _printable(f"{largest['method']} {largest['route']}")
    return name


def _printable(value: Any) -> Any:
    """A path is what a client has sent, so it may hold anything."""
    return "".join(letter if letter.isprintable() else "?" for letter in value) if isinstance(value, str) else value
