"""The log of single requests: Locust writes it, and latencies are read from it.

It is our own because Locust's statistics round what is over 100 ms, and its log (`locust.contrib.csv_request_logger`)
has no column for the time at which a request was due.
"""

import csv
import math
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Due:
    """When a request should be sent (Unix seconds), and whether all users still waited for answers then."""

    time: float
    pushed_back: bool


@dataclass(frozen=True)
class Logged:
    """One row: when the request was due and sent (Unix seconds), and what came of it."""

    due: float
    pushed_back: int
    sent: float
    method: str
    name: str
    response_time_ms: float
    response_length: int
    status_code: int
    exception: str

    @property
    def answered(self) -> float:
        return self.sent + self.response_time_ms / 1000

    @property
    def from_due_ms(self) -> float:
        return max((self.answered - self.due) * 1000, self.response_time_ms)

    @property
    def failed(self) -> bool:
        # Locust has compared the status with the one that is expected, and noted what differs as an exception.
        return bool(self.exception) or self.status_code == 0


class Log:
    """Writes a row for each request of Locust that has a `due` (Due) in its context."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("w", newline="", encoding="utf-8")  # noqa: SIM115 - closed with Locust
        self._rows = csv.writer(self._file)
        self._rows.writerow(field.name for field in fields(Logged))

    def register(self, environment: Any) -> None:
        environment.events.request.add_listener(self.write)
        environment.events.quitting.add_listener(self.close)

    def write(
        self,
        *,
        request_type: str,
        name: str,
        response_time: float,
        response_length: int,
        context: dict[str, Any],
        response: Any = None,
        exception: object = None,
        start_time: float | None = None,
        **_: Any,
    ) -> None:
        due: Due = context["due"]
        sent = time.time() - response_time / 1000 if start_time is None else start_time
        row = Logged(
            round(due.time, 6),
            int(due.pushed_back),
            round(sent, 6),
            request_type,
            name,
            round(response_time, 2),
            response_length,
            getattr(response, "status_code", 0) or 0,
            str(exception or ""),
        )
        self._rows.writerow(astuple(row))

    def close(self, **_: Any) -> None:
        self._file.close()


def rows(path: Path) -> Iterator[Logged]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Logged(
                float(row["due"]),
                int(row["pushed_back"]),
                float(row["sent"]),
                row["method"],
                row["name"],
                float(row["response_time_ms"]),
                int(row["response_length"]),
                int(row["status_code"]),
                row["exception"],
            )


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from when a request was sent, and `_due_` from when it was due; None when there was no such request.

    When a server stands still for two seconds, only the few requests that are under way show it in the latency from
    when they were sent: every user waits for one of them, so no others are sent. The latency from when a request was
    due shows it for all those that should have been sent meanwhile.
    """

    requests: int
    failures: int
    pushed_back: int
    small_p50_ms: float | None
    small_p99_ms: float | None
    small_max_ms: float | None
    large_p50_ms: float | None
    small_due_p50_ms: float | None
    small_due_p99_ms: float | None
    small_due_max_ms: float | None
    large_due_p50_ms: float | None
    # Large requests that were answered, for each second from when the first was sent to the last answer.
    large_per_s: float | None = None


def percentile(values: list[float], share: float) -> float | None:
    """The nearest rank: the smallest value that at least `share` (0 to 1) of all values do not exceed."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 2)


def per_s(logged: list[Logged]) -> float | None:
    if not logged:
        return None
    seconds = max(row.answered for row in logged) - min(row.sent for row in logged)
    return round(sum(not row.failed for row in logged) / seconds, 3) if seconds else None


def read(path: Path) -> Latencies:
    logged = list(rows(path))
    small = [row for row in logged if row.name.startswith("small:")]
    large = [row for row in logged if not row.name.startswith("small:")]
    from_sent = [row.response_time_ms for row in small]
    from_due = [row.from_due_ms for row in small]
    return Latencies(
        requests=len(logged),
        failures=sum(row.failed for row in logged),
        pushed_back=sum(row.pushed_back for row in logged),
        small_p50_ms=percentile(from_sent, 0.5),
        small_p99_ms=percentile(from_sent, 0.99),
        small_max_ms=percentile(from_sent, 1),
        large_p50_ms=percentile([row.response_time_ms for row in large], 0.5),
        small_due_p50_ms=percentile(from_due, 0.5),
        small_due_p99_ms=percentile(from_due, 0.99),
        small_due_max_ms=percentile(from_due, 1),
        large_due_p50_ms=percentile([row.from_due_ms for row in large], 0.5),
        large_per_s=per_s(large),
    )


def length(path: Path) -> int:
    """How many requests have been logged so far, while Locust still writes; 0 before the first."""
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def ends(path: Path) -> list[float]:
    """When each request had its answer, Unix seconds in order."""
    return sorted(row.answered for row in rows(path))
