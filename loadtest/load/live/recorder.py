"""Reads the server's page of metrics, and keeps what it said during each run."""

import csv
import io
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
# A run that nobody ends would grow without end: four hours at one reading a second.
LONGEST = 4 * 3600
ROUTES = 10


class Away(Exception):
    """There are no figures now; the message says why."""


@dataclass(frozen=True)
class Reading:
    """The server at one moment, memory in MiB. Counters are since the server's start."""

    time: float
    pss_mb: float
    limit_mb: float | None
    requests: int
    # By the worker's number: pss_mb, rss_mb, uss_mb, age_s, requests, busy.
    workers: dict[str, dict[str, float]]
    routes: list[dict[str, Any]]
    # Counters of ended workers, by reason, and of the kernel's kills.
    ended: dict[str, int]


@dataclass(frozen=True)
class Gap:
    """From this time on there were no figures, for this reason."""

    time: float
    reason: str


@dataclass
class Run:
    """One run of the load, and what followed until the next one."""

    label: str
    started: float
    # PSS before the first request: an ideal server comes back to it.
    idle_mb: float | None
    # When the page was last asked.
    until: float = 0.0
    readings: list[Reading | Gap] = field(default_factory=list)
    # Ends of workers: time, reason.
    marks: list[tuple[float, str]] = field(default_factory=list)


def reading(text: str, now: float, requests: int) -> Reading:
    """What a page says.

    Raises:
        Away: it says that the server does not answer, or it is another page.
    """
    plain: dict[str, float] = {}
    workers: dict[str, dict[str, float]] = {}
    routes: dict[tuple[str, str], dict[str, Any]] = {}
    ended: dict[str, int] = {}
    of_worker = {
        "lowtide_worker_pss_bytes": ("pss_mb", MIB),
        "lowtide_worker_uss_bytes": ("uss_mb", MIB),
        "uwsgi_worker_rss_bytes": ("rss_mb", MIB),
        "lowtide_worker_age_seconds": ("age_s", 1),
        "uwsgi_worker_requests_total": ("requests", 1),
        "uwsgi_worker_busy": ("busy", 1),
    }
    of_route = {
        "lowtide_route_requests_total": ("requests", 1),
        "lowtide_route_peak_p99_bytes": ("peak_p99_mb", MIB),
        "lowtide_route_peak_max_bytes": ("peak_max_mb", MIB),
        "lowtide_route_retained_bytes": ("retained_mb", MIB),
    }
    # Locust's image has no lowtide.tools, and there nothing is recorded.
    from lowtide.tools import page

    try:
        samples = page.samples(text)
    except page.NoPage:
        raise Away("this is not a page of lowtide.metrics") from None
    for name, labels, value in samples:
        if not labels:
            plain[name] = value
        elif name in of_worker:
            key, unit = of_worker[name]
            workers.setdefault(labels["worker_id"], {})[key] = round(value / unit, 2)
        elif name in of_route:
            key, unit = of_route[name]
            row = routes.setdefault((labels["method"], labels["route"]), dict(labels))
            row[key] = round(value / unit, 2)
        elif name == "lowtide_recycles_total":
            ended[labels["reason"]] = int(value)
    if plain.get("lowtide_up") == 0:
        raise Away("the server does not answer")
    if "lowtide_memory_pss_bytes" not in plain:
        raise Away("this is not a page of lowtide.metrics")
    ended["OOM kill"] = int(plain.get("lowtide_oom_kills_total", 0))
    limit = plain.get("lowtide_memory_limit_bytes")
    return Reading(
        time=now,
        pss_mb=round(plain["lowtide_memory_pss_bytes"] / MIB, 2),
        limit_mb=round(limit / MIB, 1) if limit else None,
        requests=requests,
        workers={number: worker for number, worker in sorted(workers.items()) if "pss_mb" in worker},
        routes=sorted(routes.values(), key=lambda row: -row.get("peak_max_mb", 0))[:ROUTES],
        ended=ended,
    )


class Recorder:
    """All runs since Locust started.

    Args:
        address: the page of metrics.
        requests: how many requests Locust has sent in this run.
        variant: what the next run is called.
    """

    def __init__(self, address: str, requests: Callable[[], int], variant: str) -> None:
        self.address, self.variant = address, variant
        self.runs: list[Run] = []
        self.last: Reading | Gap = Gap(time.time(), "nothing was read yet")
        # Why there are no figures, when whoever controls the server knows.
        self.away = ""
        self._recording = False
        self._requests = requests

    def start(self) -> None:
        """A run begins."""
        idle_mb = self.last.pss_mb if isinstance(self.last, Reading) else None
        label = self.variant
        again = sum(run.label.partition(" #")[0] == label for run in self.runs)
        self._recording = True
        self.runs.append(Run(f"{label} #{again + 1}" if again else label, time.time(), idle_mb))

    def end(self) -> None:
        """What follows does not belong to the last run, because another server is started."""
        self._recording = False

    def read(self) -> None:
        """Read the page once. Whatever is wrong with it becomes a gap with a reason."""
        before = self.last
        try:
            if self.away:
                raise Away(self.away)
            if not self.address.startswith(("http://", "https://")):
                raise Away(f"LOWTIDE_METRICS={self.address} is no address: write http://HOST:PORT/metrics")
            with urllib.request.urlopen(self.address, timeout=5) as page:  # noqa: S310
                self.last = reading(page.read().decode(), time.time(), self._requests())
        except (OSError, ValueError, KeyError) as error:
            self.last = Gap(time.time(), f"the page of metrics cannot be read: {getattr(error, 'reason', error)}")
        except Away as away:
            self.last = Gap(time.time(), str(away))
        if not self._recording or len(self.runs[-1].readings) >= LONGEST:
            return
        run, last = self.runs[-1], self.last
        run.until = last.time
        if isinstance(last, Gap):
            # A gap is noted once, however long it lasts.
            if not (run.readings and isinstance(before, Gap) and before.reason == last.reason):
                run.readings.append(last)
            return
        seen = next((row for row in reversed(run.readings) if isinstance(row, Reading)), None)
        run.readings.append(last)
        for reason, count in last.ended.items() if seen else ():
            # After a restart the counters begin at 0 again.
            run.marks += [(last.time, reason)] * max(0, count - (seen.ended.get(reason, 0) if seen else 0))


def to_csv(runs: list[Run]) -> str:
    """All readings, one a line; a gap has a reason and no figures."""
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["run", "t_s", "pss_mb", "limit_mb", "requests", "pss_mb_by_worker", "gap"])
    for run in runs:
        for row in run.readings:
            t_s = round(row.time - run.started, 2)
            if isinstance(row, Gap):
                out.writerow([run.label, t_s, "", "", "", "", row.reason])
            else:
                by_worker = " ".join(f"{number}={worker['pss_mb']}" for number, worker in row.workers.items())
                out.writerow([run.label, t_s, row.pss_mb, row.limit_mb or "", row.requests, by_worker, ""])
    return text.getvalue()
