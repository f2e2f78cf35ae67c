"""Reads measured figures from a summary.json, a running server, or the command line."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lowtide import memory
from lowtide.sample import Server, uwsgi
from lowtide.sizing import Load

_INTERVAL_S = 0.1
_PSS_INTERVAL_S = 1.0


class Unusable(Exception):
    """Input that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Figures:
    """The figures known so far, with the fields of `sizing.Load`; None is unknown. `notes` say how good they are."""

    source: str = "the command line"
    idle_mb: float | None = None
    workers: int | None = None
    worker_rss_mb: float | None = None
    large_mb: float | None = None
    worker_private_mb: float | None = None
    notes: list[str] = field(default_factory=list)

    def load(self) -> Load:
        """The load, if everything needed is known.

        Raises:
            Unusable: something is missing.
        """
        for value, option in ((self.idle_mb, "idle-mb"), (self.large_mb, "large-mb"), (self.workers, "workers")):
            if value is None:
                raise Unusable(
                    f"{self.source} does not say it: add --{option}, or name a summary.json of make loadtest, "
                    "--stats SOCKET or --pid MASTER"
                )
        assert self.idle_mb is not None and self.large_mb is not None and self.workers is not None  # noqa: S101, PT018
        least = None
        if self.worker_rss_mb is None:
            # The RSS of one process is at most the PSS of all together, and that is at most the sum of all RSS.
            least = self.idle_mb / (self.workers + 1)
        rss = self.worker_rss_mb or self.idle_mb
        try:
            return Load(self.idle_mb, self.workers, rss, self.large_mb, self.worker_private_mb, least)
        except ValueError as error:
            raise Unusable(f"{self.source}: {error}") from None


def _figure(path: Path, place: dict[str, Any], key: str) -> float:
    value = place.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e9:
        raise Unusable(f"{path}: {key} is {json.dumps(value)}, not a number: is this a summary.json of make loadtest?")
    return float(value)


def from_summary(path: Path, variant: str | None) -> Figures:
    """The figures of one measured variant: `variant` if given, otherwise lowtide, otherwise the first.

    Raises:
        Unusable: the file is missing or is not a summary.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}; make loadtest writes results/latest/summary.json") from None
    except (ValueError, RecursionError):
        raise Unusable(f"{path} is no JSON: name the summary.json of make loadtest") from None
    try:
        variants = {row["name"]: row for row in summary["variants"]}
        name = variant or ("lowtide" if "lowtide" in variants else next(iter(variants)))
        load, needs = summary["load"], summary.get("needs") or {}
        peaks = {kind: _figure(path, need, "peak_mb") for kind, need in needs.items()}
        if name not in variants:
            raise Unusable(f"{path} has no variant {name}: it has {', '.join(variants)}")
        row = variants[name]
        idle, workers = _figure(path, row, "idle_mb"), int(_figure(path, load, "workers"))
        body = load.get("large_body_mb")
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise Unusable(f"{path} is no summary.json of make loadtest: {type(error).__name__} {error}") from None
    notes = []
    if peaks:
        kind = max(peaks, key=lambda name: peaks[name])
        notes.append(f"The largest request measured is {kind!r}: it adds {peaks[kind]:.0f} MiB at its peak.")
        if body:
            notes.append(f"The largest body measured has {body} MB; if MAX_BODY_MB lets in larger ones, measure those.")
    large = max(peaks.values(), default=None)
    if large is None and "without" in variants:
        without = variants["without"]
        large = (_figure(path, without, "peak_mb") - _figure(path, without, "idle_mb")) / workers
        notes.append(
            f"It was measured without large requests alone. Variant without, which keeps what a request took, grew by "
            f"{large:.0f} MiB a worker: that is taken for one large request. --large-mb wins over it."
        )
    rss = _figure(path, row, "worker_rss_mb") if "worker_rss_mb" in row else None
    return Figures(f"{path}, variant {name}", idle, workers, rss, large, None, notes)


@dataclass
class _Worker:
    """The figures of one worker that was watched, MiB."""

    least_rss_mb: float = float("inf")
    most_rss_mb: float = 0.0
    private_mb: float = float("inf")


def watch(pid: int, workers_of: Callable[[], list[int]], seconds: float, source: str) -> Figures:
    """Watch a running server for a while. Large requests should run meanwhile, or have run since it started.

    Idle memory is the lowest PSS of the tree that was seen. A worker's growth is its highest RSS ever (VmHWM in
    /proc/PID/status) less an idle worker's RSS, so a peak between two samples is not missed.

    Raises:
        Unusable: there is no such process, it has no workers, or it belongs to another user.
    """
    seen: dict[int, _Worker] = {}
    trees: list[float] = []
    most = 0
    now = time.monotonic()
    end, next_tree = now + seconds, now
    try:
        while now <= end or not trees:
            pids = workers_of()
            most = max(most, len(pids))
            if not pids:
                raise Unusable(f"{source} has no worker processes: name the master of a running server")
            for worker_pid in pids:
                worker = seen.setdefault(worker_pid, _Worker())
                if figures := memory.fields_mb(worker_pid, "status", "VmRSS", "VmHWM"):
                    worker.least_rss_mb = min(worker.least_rss_mb, figures[0])
                    worker.most_rss_mb = max(worker.most_rss_mb, figures[1])
            if now >= next_tree:
                trees.append(memory.tree_pss_mb(pid))
                for worker_pid in pids:
                    if own := memory.fields_mb(worker_pid, "smaps_rollup", "Private_Clean", "Private_Dirty"):
                        seen[worker_pid].private_mb = min(seen[worker_pid].private_mb, sum(own))
                next_tree = now + _PSS_INTERVAL_S
            time.sleep(_INTERVAL_S)
            now = time.monotonic()
    except PermissionError:
        raise Unusable(f"{source} belongs to another user: run this as that user, inside its container") from None
    known = [worker for worker in seen.values() if worker.private_mb < float("inf") and worker.most_rss_mb]
    if not known or not min(trees):
        raise Unusable(f"{source} ended while it was watched")
    rss = statistics.median_high(worker.least_rss_mb for worker in known)
    private_mb = statistics.median_high(worker.private_mb for worker in known)
    large = max(worker.most_rss_mb for worker in seen.values()) - rss
    notes = []
    if large < rss / 4:
        notes.append(f"No worker has grown by more than {large:.0f} MiB: send the largest requests while watching.")
    inflated = [pid for pid, worker in seen.items() if worker.least_rss_mb > 1.5 * rss]
    if inflated:
        notes.append(
            f"Worker {inflated[0]} never was below {seen[inflated[0]].least_rss_mb:.0f} MiB of RSS, so idle memory "
            "counts what it keeps: watch a freshly started server for smaller numbers."
        )
    return Figures(
        source, round(min(trees), 1), most, round(rss, 1), round(max(0.0, large), 1), round(private_mb, 1), notes
    )


def from_pid(pid: int, seconds: float) -> Figures:
    """Watch a running server, given the process id of its master."""
    if not Path(f"/proc/{pid}").exists():
        raise Unusable(f"process {pid} does not exist: name the master of a running server")
    return watch(pid, lambda: memory.children(pid) or [], seconds, f"process {pid}")


def from_stats(path: str, seconds: float) -> Figures:
    """Watch a running uWSGI, given its stats socket.

    Raises:
        Unusable: no uWSGI answers there.
    """

    def look() -> Server:
        try:
            return uwsgi(path)
        except (OSError, ValueError) as error:
            raise Unusable(f"{path} does not answer as uWSGI's stats socket: {error}") from None

    try:
        return watch(look().pid, lambda: look().workers, seconds, path)
    except (KeyError, TypeError):
        raise Unusable(f"{path} does not answer as uWSGI's stats socket: other fields than uWSGI's") from None
