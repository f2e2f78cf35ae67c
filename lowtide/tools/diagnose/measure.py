"""The measuring, in a process of its own: `python -m lowtide.tools.diagnose.measure`, a Job as JSON on standard input.

Two such processes serve one diagnosis, because watching Python's heap costs memory that would be taken for growth:
- plain: resident memory after each request, and how much of it malloc_trim(0) gives back, at four checkpoints;
- traced: with tracemalloc, the live Python heap after each request, and what of it grew since the warm-up.
Native growth takes a third, where memray is installed: the C functions whose memory was not given back.
"""

import gc
import importlib
import json
import sys
import tempfile
import tracemalloc
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lowtide.give_back import Unavailable, malloc_trim
from lowtide.tools.diagnose import allocator
from lowtide.tools.diagnose.request import Application, Request

CHECKPOINTS = 4
# Enough to reach from a library into the application; each costs time for each allocation.
FRAMES = 5


class CannotRun(Exception):
    """The diagnosis cannot be made; the message says why, in one line, and what to do."""


@dataclass(frozen=True)
class Job:
    """What to run: `times` measured requests after `warm_up` others. `result` is the file to write, as JSON."""

    app: str
    request: Request
    times: int
    warm_up: int
    result: str


@dataclass
class Plain:
    """Without tracing. Memory in MiB, one value a request, the warm-up's first; `base_mb` is before the first one.

    Attributes:
        anonymous_mb: resident memory that no file backs.
        malloc_bytes: what glibc's malloc has handed out, in bytes; empty where it does not say.
        checkpoints: numbers of the requests after which memory was given back, from 1, warm-up included.
        trimmed_mb: what was left then; `trim_unavailable` says why there is none.
        arenas_mb: pymalloc's arenas at each checkpoint, and `arenas_used_mb` how much of them is in use.
    """

    base_mb: float = 0.0
    peak_mb: float = 0.0
    anonymous_mb: list[float] = field(default_factory=list)
    malloc_bytes: list[float] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    trimmed_mb: list[float] = field(default_factory=list)
    arenas_mb: list[float] = field(default_factory=list)
    arenas_used_mb: list[float] = field(default_factory=list)
    trim_unavailable: str = ""
    statuses: dict[str, int] = field(default_factory=dict)


@dataclass
class Traced:
    """With tracemalloc. Bytes of live Python objects made since before the first request, one value a request.

    Attributes:
        queries: statements in Django's query logs after each request; empty without Django.
        lines: what grew, as `holder.growing_lines` returns it; types: as `holder.growing_types` does.
        chain: what holds one of the objects that grew, as `holder.find_chain` returns it.
    """

    base_bytes: float = 0.0
    live_bytes: list[float] = field(default_factory=list)
    garbage: int = 0
    django_debug: bool = False
    queries: list[float] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    types: list[dict[str, Any]] = field(default_factory=list)
    chain: list[dict[str, str]] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


@dataclass
class Native:
    """With memray. The C functions that allocated what is still there, as `holder.native_functions` returns them."""

    functions: list[dict[str, Any]] = field(default_factory=list)


def load(app: str) -> Application:
    """The application that `module:callable` names.

    Raises:
        CannotRun: there is no such thing, or importing it failed.
    """
    module, _, name = app.partition(":")
    try:
        found = getattr(importlib.import_module(module), name or "application")
    except Exception as error:
        raise CannotRun(f"{app} cannot be loaded: {_one_line(error)}") from error
    if not callable(found):
        raise CannotRun(f"{app} is {type(found).__name__}, not a WSGI callable: write MODULE:CALLABLE")
    application: Application = found
    return application


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _send(job: Job, application: Application, number: int, statuses: Counter[str]) -> None:
    """Send one request, and free what waits for the garbage collector: cycles are no growth."""
    try:
        statuses[job.request.send(application, number)] += 1
    except Exception as error:
        if number == 1:
            raise CannotRun(f"the application raised {_one_line(error)}") from error
        statuses[_one_line(error)] += 1


def measure_plain(job: Job) -> Plain:
    """See `Plain`."""
    application = load(job.app)
    plain = Plain()
    trim: Callable[[int], int] | None = None
    try:
        trim = malloc_trim()
    except Unavailable as reason:
        plain.trim_unavailable = str(reason)
    gc.collect()
    if trim:
        trim(0)
    total = job.warm_up + job.times
    statuses: Counter[str] = Counter()
    plain.checkpoints = [job.warm_up + job.times * part // CHECKPOINTS for part in range(1, CHECKPOINTS + 1)]
    plain.base_mb = allocator.anonymous_mb()
    for number in range(1, total + 1):
        _send(job, application, number, statuses)
        gc.collect()
        plain.anonymous_mb.append(allocator.anonymous_mb())
        if (in_use := allocator.malloc_in_use()) is not None:
            plain.malloc_bytes.append(in_use)
        if number in plain.checkpoints:
            if trim:
                trim(0)
                plain.trimmed_mb.append(allocator.anonymous_mb())
            if arenas := allocator.pymalloc_mb():
                plain.arenas_mb.append(arenas[0])
                plain.arenas_used_mb.append(arenas[1])
    plain.peak_mb = allocator.peak_mb()
    plain.statuses = dict(statuses)
    return plain


def measure_traced(job: Job) -> Traced:
    """See `Traced`."""
    from lowtide.tools.diagnose import holder

    application = load(job.app)
    traced = Traced()
    total = job.warm_up + job.times
    # Filled in place: the measuring itself must not grow.
    live, queries = array("d", bytes(8 * total)), array("d", bytes(8 * total))
    statuses: Counter[str] = Counter()
    gc.collect()
    tracemalloc.start(FRAMES)
    traced.base_bytes = tracemalloc.get_traced_memory()[0]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, total + 1):
            _send(job, application, number, statuses)
            _clear_type_cache()
            traced.garbage = gc.collect()
            live[number - 1] = tracemalloc.get_traced_memory()[0]
            queries[number - 1] = _queries()
            if number == job.warm_up:
                types = holder.count_types()
                # On disk, not in the heap that is being measured.
                tracemalloc.take_snapshot().dump(f"{folder}/warm-up")
        # Before the snapshots, which consist of thousands of tuples.
        traced.types = holder.growing_types(types, job.times)
        after = tracemalloc.take_snapshot()
        before = tracemalloc.Snapshot.load(f"{folder}/warm-up")
    traced.live_bytes, traced.queries, traced.statuses = list(live), list(queries), dict(statuses)
    traced.django_debug = _django_debug()
    stacks = holder.growing_stacks(before, after, job.times)
    traced.lines = [stack.as_dict() for stack in stacks]
    del before, after
    if live[-1] - live[job.warm_up] >= holder.LEAST_BYTES * job.times:
        traced.chain, traced.bound = holder.find_chain(stacks)
    return traced


def measure_native(job: Job) -> Native:
    """See `Native`."""
    from lowtide.tools.diagnose import holder

    memray: Any = importlib.import_module("memray")
    application = load(job.app)
    statuses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, job.warm_up + 1):
            _send(job, application, number, statuses)
        with memray.Tracker(f"{folder}/trace", native_traces=True):
            for number in range(job.warm_up + 1, job.warm_up + job.times + 1):
                _send(job, application, number, statuses)
        records = memray.FileReader(f"{folder}/trace").get_leaked_allocation_records(merge_threads=True)
        return Native(holder.native_functions(records, job.times))


def _clear_type_cache() -> None:
    """Empty CPython's cache of attribute look-ups: it keeps the names of up to 4096, which looks like a small leak."""
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()


def _django_debug() -> bool:
    if "django.conf" not in sys.modules:
        return False
    settings = sys.modules["django.conf"].settings
    return bool(settings.configured and settings.DEBUG)


def _queries() -> int:
    """Statements that Django keeps of all connections (connection.queries_log): a list only while DEBUG is on."""
    if "django.db" not in sys.modules or not sys.modules["django.conf"].settings.configured:
        return 0
    return sum(len(connection.queries_log) for connection in sys.modules["django.db"].connections.all(True))


MEASURES: dict[str, Callable[[Job], Any]] = {
    "plain": measure_plain,
    "traced": measure_traced,
    "native": measure_native,
}


def main() -> int:
    kind = sys.argv[1]
    fields = json.load(sys.stdin)
    headers = tuple((name, value) for name, value in fields["request"].pop("headers"))
    job = Job(**{**fields, "request": Request(**fields["request"], headers=headers)})
    answer: dict[str, Any]
    try:
        answer = asdict(MEASURES[kind](job))
    except CannotRun as error:
        answer = {"cannot_run": str(error)}
    Path(job.result).write_text(json.dumps(answer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
