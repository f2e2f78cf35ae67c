"""Latencies from Locust's log of single requests: its own statistics round what is over 100 ms."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Latencies:
    """Milliseconds as the client saw them; None when there was no such request."""

    requests: int
    failures: int
    small_p50_ms: float | None
    small_p99_ms: float | None
    small_max_ms: float | None
    large_p50_ms: float | None


def percentile(values: list[float], share: float) -> float | None:
    """The nearest rank: the smallest value that at least `share` (0 to 1) of all values do not exceed."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 2)


def read(path: Path) -> Latencies:
    small: list[float] = []
    large: list[float] = []
    failures = 0
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["exception"] or row["status_code"] != "200":
                failures += 1
            lane = small if row["name"].startswith("small:") else large
            lane.append(float(row["response_time_ms"]))
    return Latencies(
        requests=len(small) + len(large),
        failures=failures,
        small_p50_ms=percentile(small, 0.5),
        small_p99_ms=percentile(small, 0.99),
        small_max_ms=percentile(small, 1),
        large_p50_ms=percentile(large, 0.5),
    )


def length(path: Path) -> int:
    """Requests so far, while Locust writes; 0 before the first."""
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def ends(path: Path) -> list[float]:
    """When each request had its answer, Unix seconds in order."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        return sorted(float(row["timestamp"]) + float(row["response_time_ms"]) / 1000 for row in rows)
