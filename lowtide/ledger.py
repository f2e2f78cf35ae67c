"""Counts how much memory each request took at its peak, by route, in a table that all workers share.

The kernel keeps a process's highest RSS (proc(5), VmHWM) and resets it when 5 is written to /proc/self/clear_refs. So
measuring a request's peak costs microseconds: getrusage(2) reads the highest RSS after each request, and it is reset
only when it is above what the process holds, which a small request does not cause.

LEDGER in the environment: 0 for no ledger; otherwise a number of MiB (32 by default). A request with at least this peak
also gets a line of JSON on stderr:

    {"event": "large-request", "time": 1700000000.0, "request_id": "5f0c...", "method": "POST", "route": "/import/",
     "status": 200, "worker": 2, "peak_mb": 171.3, "retained_mb": 3.1, "given_back_mb": 102.4, "seconds": 0.41}

The table is the file RUN_DIR/ledger, of a fixed size. Each worker writes into its own part, without a lock, and its
successor continues there; a reader adds the parts up. An entry is lost when its worker is killed while writing it.
"""

import json
import math
import mmap
import os
import re
import resource
import struct
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lowtide import defaults, memory
from lowtide.wsgi import Application, Environ

# A framework's adapter (lowtide.django.request_id) sets this to the pattern of the URL, not to the URL.
ROUTE = "lowtide.route"
NO_ROUTE, OTHER = "(not found)", "(other)"
ROUTES = 64
# MiB. After a request that took less than this, the highest RSS is read but not reset, because a reset takes 10 us.
_SLACK_MB = 0.5
# After this number of small requests RSS is read again, because the process may hold less than before.
_UNREAD = 100
# Peaks are counted in steps of 8 % from a quarter of a MiB to 2.5 GiB, so the error of a median is at most 4 %.
_LEAST_MB, _FACTOR, _STEPS = 0.25, 1.08, 120
_LOG_FACTOR = math.log(_FACTOR)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# A segment of a path that looks like an id: a number, a hash, a UUID, or a long text with digits in it.
_ID = re.compile(r"(?<=/)(?:\d+|[0-9a-fA-F-]{8,}|(?=[^/]*\d)[^/]{16,})(?=/|$)")
# The head: magic, number of workers, how many of them are only for large requests (the last ones), and why peaks are
# not known, as text.
_HEAD = struct.Struct("=8sqq112s")
_MAGIC = b"ledger-2"
# A row: method and route as text, requests, errors (5xx), highest peak, MiB retained, MiB given back, seconds, steps.
_NAME_BYTES = 160
_SUMS, _COUNT = struct.Struct("=qqdddd"), struct.Struct("=I")
_FIGURES = struct.Struct(f"=qqdddd{_STEPS}I")
_EMPTY = struct.Struct(f"={_NAME_BYTES}s{_FIGURES.size}x")
_ROW = _EMPTY.size
_PART = _ROW * ROUTES


@dataclass
class Route:
    """One row of the table. Memory in MiB; `steps` counts requests by their peaks."""

    route: str
    method: str
    count: int = 0
    errors: int = 0
    peak_max_mb: float = 0.0
    retained_mb: float = 0.0
    given_back_mb: float = 0.0
    seconds: float = 0.0
    steps: list[int] = field(default_factory=lambda: [0] * _STEPS)

    def peak_mb(self, share: float) -> float:
        """The peak that this share of the requests did not exceed, within 4 %."""
        wanted, seen = share * sum(self.steps), 0
        for step, count in enumerate(self.steps):
            seen += count
            if count and seen >= wanted:
                return min(_LEAST_MB * _FACTOR ** (step - 0.5), self.peak_max_mb) if step else 0.0
        return 0.0

    def at_most(self, peak_mb: float) -> int:
        """How many requests took at most this much, within 4 % of it."""
        return sum(self.steps[: 1 + round(math.log(peak_mb / _LEAST_MB) / _LOG_FACTOR)])

    @property
    def peak_sum_mb(self) -> float:
        """The peaks of all requests added up, within 4 %."""
        return math.fsum(count * _LEAST_MB * _FACTOR ** (step - 0.5) for step, count in enumerate(self.steps) if step)

    def add(self, other: "Route") -> None:
        self.count += other.count
        self.errors += other.errors
        self.peak_max_mb = max(self.peak_max_mb, other.peak_max_mb)
        self.retained_mb += other.retained_mb
        self.given_back_mb += other.given_back_mb
        self.seconds += other.seconds
        self.steps = [a + b for a, b in zip(self.steps, other.steps, strict=True)]


@dataclass(frozen=True)
class Served:
    """One request, as the log's line tells of it. `peak_mb` is None where peaks are not known."""

    request_id: str
    method: str
    route: str
    status: int
    worker: int
    peak_mb: float | None
    retained_mb: float
    given_back_mb: float
    seconds: float


def line_mb() -> float:
    """LEDGER of the environment, in MiB: from which peak on a request is a line of the log; 0 for no ledger."""
    return defaults.from_environment_mb("LEDGER", "no ledger")


def fold(path: str) -> str:
    """The path with its numbers and ids replaced: /product/17/ becomes /product/{id}/."""
    return _ID.sub("{id}", path)


def _step(peak_mb: float) -> int:
    if peak_mb < _LEAST_MB:
        return 0
    return min(_STEPS - 1, 1 + int(math.log(peak_mb / _LEAST_MB) / _LOG_FACTOR))


def _highest_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Ledger:
    """The table of all workers, made before they fork, and the figures of the request that this process serves."""

    def __init__(
        self, workers: int, line_mb: float = defaults.LEDGER, file: Path | None = None, large_workers: int = 0
    ) -> None:
        self._line_mb = line_mb
        self._table = memory.shared(_HEAD.size + workers * _PART, file)
        memory.put(self._table, 0, _HEAD, _MAGIC, workers, large_workers, b"")
        self._worker = 0
        self._rows: dict[str, int] = {}
        self._reset: Callable[[], object] | None = None
        self._environ: Environ | None = None
        self._request: tuple[str, str, str] | None = None
        self._status = ""
        self._unread = 0
        self._began = self._held_mb = 0.0

    def take_place(self, worker: int, threads: int = 1) -> None:
        """Call this when a worker (numbered from 1) starts: it takes over the rows of its predecessor."""
        self._worker = worker
        self._rows = {}
        for index in range(ROUTES):
            row = _row(self._table, self._start(index))
            if row:
                self._rows[_name(row.method, row.route)] = index
        why = "" if threads < 2 else "threads share the peak of their process"
        self._reset = None
        if not why:
            self._reset, why = peak_resetter()
        *head, said = _HEAD.unpack_from(self._table)
        if why and not said.strip(b"\0"):
            # The first worker prints the reason for all, because it is the same for each.
            memory.put(self._table, 0, _HEAD, *head, why.encode()[:112])
            print(f"lowtide: the ledger knows no peaks: {why}", file=sys.stderr, flush=True)
        self._held_mb = memory.rss_mb()
        if self._reset:
            self._reset()

    def _start(self, index: int) -> int:
        return _HEAD.size + (self._worker - 1) * _PART + index * _ROW

    def watched(self, application: Application) -> Application:
        """Wrap the application so that each request is noted when it begins. The adapter calls `close` and `end`."""

        def watching(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            self._environ, self._status = environ, "500"
            self._began = time.perf_counter()

            def start(status: str, *rest: Any) -> Any:
                self._status = status
                return start_response(status, *rest)

            return application(environ, start)

        return watching

    def close(self) -> None:
        """Call this when the response is closed: it drops environ, and so the request's body."""
        environ, self._environ = self._environ, None
        if environ is None:
            return
        method = environ.get("REQUEST_METHOD", "")
        route = environ.get(ROUTE)
        if route is None:
            route = NO_ROUTE if self._status.startswith("404") else fold(environ.get("PATH_INFO", ""))
        self._request = (method if method in _METHODS else OTHER, route, environ.get("HTTP_X_REQUEST_ID", "-"))

    def end(self, asked_mb: float = 0.0) -> Served | None:
        """Call this at the end of a request, after memory was given back; `asked_mb` is RSS before that.

        Returns the request; None if there was none.
        """
        if self._environ is not None:
            self.close()
        request, self._request = self._request, None
        if request is None:
            return None
        seconds = time.perf_counter() - self._began
        peak_mb = retained_mb = given_back_mb = 0.0
        if self._reset:
            peak_mb = max(0.0, _highest_mb() - self._held_mb)
            self._unread += 1
            if peak_mb >= _SLACK_MB or self._unread >= _UNREAD:
                rss_mb, self._unread = memory.rss_mb(), 0
                retained_mb, given_back_mb = rss_mb - self._held_mb, max(0.0, asked_mb - rss_mb)
                self._held_mb = rss_mb
                self._reset()
        method, route, request_id = request
        self._enter(method, route, peak_mb, retained_mb, given_back_mb, seconds)
        served = Served(
            request_id,
            method,
            route,
            int(self._status[:3]) if self._status[:3].isdigit() else 0,
            self._worker,
            round(peak_mb, 1) if self._reset else None,
            round(retained_mb, 1),
            round(given_back_mb, 1),
            round(seconds, 3),
        )
        if peak_mb >= self._line_mb:
            line = {"event": "large-request", "time": round(time.time(), 3), **asdict(served)}
            print(json.dumps(line), file=sys.stderr, flush=True)
        return served

    def _enter(self, method: str, route: str, peak: float, retained: float, given_back: float, seconds: float) -> None:
        name = _name(method, route)
        index = self._rows.get(name)
        if index is None:
            index = self._new_row(name)
        at = self._start(index) + _NAME_BYTES
        count, errors, highest, kept, back, took = _SUMS.unpack_from(self._table, at)
        if self._status[:1] == "5":
            errors += 1
        if peak > highest:
            highest = peak
        sums = (count + 1, errors, highest, kept + retained, back + given_back, took + seconds)
        memory.put(self._table, at, _SUMS, *sums)
        at += _SUMS.size + 4 * _step(peak)
        memory.put(self._table, at, _COUNT, _COUNT.unpack_from(self._table, at)[0] + 1)

    def _new_row(self, name: str) -> int:
        """Make a row for a route that is new to this worker. When the table is full, new routes share the last row."""
        if len(self._rows) >= ROUTES - 1:
            name = _name(OTHER, OTHER)
            if (index := self._rows.get(name)) is not None:
                return index
        taken = set(self._rows.values())
        index = self._rows[name] = next(index for index in range(ROUTES) if index not in taken)
        memory.put(self._table, self._start(index), _EMPTY, name.encode())
        return index


def _name(method: str, route: str) -> str:
    """The name of a row, cut to what the table has room for: a worker's successor must find it under the same name."""
    route = route.replace("\0", "") or "/"
    return f"{method} {route}".encode(errors="replace")[:_NAME_BYTES].decode(errors="ignore")


def peak_resetter() -> tuple[Callable[[], object] | None, str]:
    """A function that resets the highest RSS of this process, or None and the reason why that is impossible."""
    try:
        descriptor = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        os.write(descriptor, b"5")
    except OSError as error:
        return None, f"/proc/self/clear_refs cannot be written: {error.strerror}"

    def reset() -> None:
        os.pwrite(descriptor, b"5", 0)

    # A sandbox such as gVisor accepts the write and does nothing, so the effect is tested with a block of memory.
    held_mb = _highest_mb()
    block = mmap.mmap(-1, 4 * memory.MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    block.close()
    raised_mb = _highest_mb()
    reset()
    if not held_mb < raised_mb or _highest_mb() > raised_mb - 2:
        return None, "the kernel does not forget the highest RSS of a process"
    return reset, ""


def _row(table: "mmap.mmap | bytes", at: int) -> Route | None:
    """The row at this offset; None when it is free, or when its worker was killed while writing it."""
    name = bytes(table[at : at + _NAME_BYTES]).rstrip(b"\0").decode(errors="replace")
    method, _, route = name.partition(" ")
    if not route:
        return None
    count, errors, highest, retained, given_back, seconds, *steps = _FIGURES.unpack_from(table, at + _NAME_BYTES)
    if not all(map(math.isfinite, (highest, retained, given_back, seconds))) or min(count, errors) < 0:
        return None
    return Route(route, method, count, errors, highest, retained, given_back, seconds, list(steps))


def read(file: Path, small: bool = False) -> tuple[list[Route], str]:
    """All routes of all workers, highest peak first, and the reason why peaks are not known, or "".

    With `small`, what the workers for large requests served is left out.

    Raises:
        OSError: there is no such file.
        ValueError: it is no ledger.
    """
    table = file.read_bytes()
    if len(table) < _HEAD.size or not table.startswith(_MAGIC):
        raise ValueError(f"{file} is no ledger of this version")
    _, workers, large_workers, why = _HEAD.unpack_from(table)
    workers -= large_workers if small else 0
    routes: dict[tuple[str, str], Route] = {}
    for at in range(_HEAD.size, min(len(table), _HEAD.size + workers * _PART), _ROW):
        if row := _row(table, at):
            routes.setdefault((row.method, row.route), Route(row.route, row.method)).add(row)
    ordered = sorted(routes.values(), key=lambda route: (-route.peak_max_mb, -route.seconds))
    return ordered, why.rstrip(b"\0").decode()
