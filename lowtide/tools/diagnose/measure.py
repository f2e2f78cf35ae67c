"""The measuring, in a process of its own: `python -m lowtide.tools.diagnose.measure`, a Job as JSON on standard input.

Two such processes serve one diagnosis, because watching Python's heap costs memory that would be taken for growth:
- traced: with tracemalloc, the live Python heap, and what of it grew since the warm-up;
- plain: resident memory, and how much of it malloc_trim(0) gives back at checkpoints.
Each looks after each request of the first round, and goes on (`rounds`) while it sees growth that may come to an end.
Native growth takes a third, where memray is installed: the C functions whose memory was not given back.
"""

import gc
import importlib
import json
import sys
import tempfile
import threading
import tracemalloc
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from lowtide.give_back import Unavailable, malloc_trim
from lowtide.memory import MIB
from lowtide.tools.diagnose import allocator, clock
from lowtide.tools.diagnose.django_state import debug, initialized, places
from lowtide.tools.diagnose.request import Application, Request
from lowtide.tools.diagnose.rounds import LOOKS, CannotRun, Job, Rounds, one_line
from lowtide.tools.diagnose.trend import LIMITS, Trend, trend

CHECKPOINTS = 4
# How many callers tracemalloc keeps: enough to reach from a library into the application. Each slows every allocation.
FRAMES = 5
# Seconds. Objects that are kept for longer count as kept for ever, because a worker's memory holds them all that time.
PUT_FORWARD_S = 3600


@dataclass
class Plain:
    """Without tracing. Memory in MiB, one value a look, the warm-up's first; `base_...` is before the first request.

    Attributes:
        numbers: the number of the request before each look, from 1, warm-up included.
        anonymous_mb: resident memory that no file backs.
        malloc_bytes: what glibc's malloc has handed out, in bytes; empty where it does not say.
        checkpoints: numbers of the requests after which memory was given back.
        trimmed_mb: what was left then; `trim_unavailable` says why there is none.
        arenas_mb: pymalloc's arenas at each checkpoint, and `arenas_used_mb` how much of them is in use.
        loaded_mb: what the loader wrote into pages of libraries that were loaded since.
    """

    base_mb: float = 0.0
    base_malloc_bytes: float = 0.0
    base_arenas_used_mb: float = 0.0
    peak_mb: float = 0.0
    loaded_mb: float = 0.0
    numbers: list[float] = field(default_factory=list)
    anonymous_mb: list[float] = field(default_factory=list)
    malloc_bytes: list[float] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    trimmed_mb: list[float] = field(default_factory=list)
    arenas_mb: list[float] = field(default_factory=list)
    arenas_used_mb: list[float] = field(default_factory=list)
    trim_unavailable: str = ""
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def malloc(self, warm_up: int) -> Trend | None:
        return trend(self.numbers[warm_up:], self.malloc_bytes[warm_up:]) if self.malloc_bytes else None

    def mapped(self) -> float:
        """Bytes a request that neither malloc gave back nor pymalloc's arenas explain, at least, between any two of
        the last checkpoints."""
        arenas = self.arenas_mb or [0.0] * len(self.trimmed_mb)
        other = [left - arena for left, arena in zip(self.trimmed_mb, arenas, strict=True)][-CHECKPOINTS:]
        gaps = [b - a for a, b in pairwise(self.checkpoints[-CHECKPOINTS:])]
        steps = [b - a for a, b in pairwise(other)]
        return min((step / gap for step, gap in zip(steps, gaps, strict=False)), default=0) * MIB

    def growth(self, warm_up: int, explained: float) -> str:
        """Whether memory grows that Python's objects do not explain: "no", "endless", or "unsure"."""
        explained = max(0.0, explained)
        costly = (self.trimmed_mb or self.anonymous_mb)[-1] - self.base_mb >= LIMITS.costs_mb * 0.9
        malloc, limit = self.malloc(warm_up), explained + LIMITS.malloc_bytes
        if malloc and malloc.open(limit):
            return "endless" if costly or malloc.endless(limit) else "unsure"
        if self.mapped() < explained + LIMITS.mapped_bytes:
            return "no"
        long = self.numbers[-1] - warm_up >= LIMITS.outlasts
        return "endless" if costly or long else "unsure"


@dataclass
class Traced:
    """With tracemalloc. Bytes of live Python objects made since before the first request, one value a look.

    Attributes:
        numbers: the number of the request before each look, from 1, warm-up included.
        queries: statements in Django's query logs; empty without Django.
        lines: what grew, as `holder.growing_lines` returns it; types: as `holder.growing_types` does.
        chain: what holds one of the objects that grew, as `holder.find_chain` returns it.
        bound: size and bound of a container that holds what grows, and fills.
        costly: whether what grew came to LIMITS.costs_mb.
        clock: what came of putting the clock forward: "falls" when what had grown was let go, "stays", or "" when it
            was not tried.
        threads: names of the threads that ran beside the requests at the end.
    """

    base_bytes: float = 0.0
    numbers: list[float] = field(default_factory=list)
    live_bytes: list[float] = field(default_factory=list)
    garbage: int = 0
    django_debug: bool = False
    queries: list[float] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    types: list[dict[str, Any]] = field(default_factory=list)
    chain: list[dict[str, str]] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)
    costly: bool = False
    clock: str = ""
    threads: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def heap(self, warm_up: int) -> Trend:
        return trend(self.numbers[warm_up:], self.live_bytes[warm_up:])

    def debug(self, warm_up: int) -> Trend:
        return trend(self.numbers[warm_up:], self.queries[warm_up:])


@dataclass
class Native:
    """With memray. The C functions that allocated what is still there, as `holder.native_functions` returns them."""

    functions: list[dict[str, Any]] = field(default_factory=list)


def load(app: str) -> Application:
    """Import the application that `module:callable` names.

    Raises:
        CannotRun: it does not exist, or importing it failed.
    """
    module, _, name = app.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), name or "application")
    except Exception as error:
        raise CannotRun(f"{app} cannot be loaded: {one_line(error)}") from error
    if not callable(loaded):
        raise CannotRun(f"{app} is {type(loaded).__name__}, not a WSGI callable: write MODULE:CALLABLE")
    application: Application = loaded
    return application


def measure_plain(job: Job) -> Plain:
    """See `Plain`."""
    plain = Plain()
    rounds = Rounds(job, load(job.app))
    trim: Callable[[int], int] | None = None
    try:
        trim = malloc_trim()
    except Unavailable as reason:
        plain.trim_unavailable = str(reason)
    gc.collect()
    if trim:
        trim(0)
    # Exclude the objects that exist before the first request, because each collection would walk through all of them.
    gc.freeze()
    loaded_mb = allocator.loaded_mb()
    if arenas := allocator.pymalloc_mb():
        plain.base_arenas_used_mb = arenas[1]
    plain.base_malloc_bytes = allocator.malloc_in_use() or 0
    plain.base_mb = allocator.anonymous_mb()

    def look() -> float:
        gc.collect()
        plain.numbers.append(rounds.number)
        plain.anonymous_mb.append(allocator.anonymous_mb())
        if (in_use := allocator.malloc_in_use()) is not None:
            plain.malloc_bytes.append(in_use)
        return plain.anonymous_mb[-1] - plain.base_mb

    def checkpoint() -> None:
        plain.checkpoints.append(rounds.number)
        if trim:
            trim(0)
            plain.trimmed_mb.append(allocator.anonymous_mb())
        if arenas := allocator.pymalloc_mb():
            plain.arenas_mb.append(arenas[0])
            plain.arenas_used_mb.append(arenas[1])

    checkpoints = [job.warm_up + job.times * part // CHECKPOINTS for part in range(1, CHECKPOINTS + 1)]
    for number in rounds.first():
        look()
        if number in checkpoints:
            checkpoint()
    while plain.growth(job.warm_up, job.explained) == "unsure":
        looks = 0
        for looks, _ in enumerate(rounds.further("memory still grows that is no Python object"), start=1):
            if look() >= LIMITS.costs_mb:
                break
            if looks % (LOOKS // CHECKPOINTS) == 0:
                checkpoint()
        if not looks:
            break
        if plain.checkpoints[-1] < rounds.number:
            checkpoint()
    plain.loaded_mb = allocator.loaded_mb() - loaded_mb
    plain.peak_mb, plain.seconds, plain.statuses = allocator.peak_mb(), rounds.seconds, dict(rounds.statuses)
    return plain


def measure_traced(job: Job) -> Traced:
    """See `Traced`."""
    from lowtide.tools.diagnose import holder

    rounds = Rounds(job, load(job.app))
    rounds.say(f"the request really runs; {places()}")
    traced = Traced()
    # These arrays get their full size now, because the measuring itself must not grow.
    room = job.warm_up + job.times + 20 * LOOKS
    numbers, live, queries = (array("d", bytes(8 * room)) for _ in range(3))
    looks = 0

    def live_bytes() -> float:
        _clear_type_cache()
        traced.garbage = gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def look() -> None:
        nonlocal looks
        numbers[looks], live[looks], queries[looks] = rounds.number, live_bytes(), _queries()
        looks += 1

    gc.collect()
    gc.freeze()
    tracemalloc.start(FRAMES)
    traced.base_bytes = tracemalloc.get_traced_memory()[0]
    with tempfile.TemporaryDirectory() as folder:
        _index_lines(True)
        for number in rounds.first():
            # The first request has run most of the code that the others run.
            _index_lines(False)
            look()
            if number == job.warm_up:
                gc.unfreeze()
                types = holder.count_types()
                gc.freeze()
                # The snapshot goes to disk, so that it is not in the heap that is being measured.
                tracemalloc.take_snapshot().dump(f"{folder}/warm-up")

        def stacks() -> list[holder.Stack]:
            after = tracemalloc.take_snapshot()
            before = tracemalloc.Snapshot.load(f"{folder}/warm-up")
            return holder.growing_stacks(before, after, rounds.number - job.warm_up)

        while True:
            heap = trend(numbers[job.warm_up : looks], live[job.warm_up : looks])
            logged = trend(numbers[job.warm_up : looks], queries[job.warm_up : looks])
            if logged.grows(LIMITS.queries) or not heap.open(LIMITS.live_bytes):
                break
            if traced.costly or heap.endless(LIMITS.live_bytes):
                break
            before = looks
            if before == job.warm_up + job.times:
                # Frozen objects would not be found.
                gc.unfreeze()
                if filling := _filling(rounds, holder.find_holders(stacks())):
                    traced.bound = filling
                    break
                gc.freeze()
                in_use = allocator.malloc_in_use() or 0
            for _ in rounds.further("the live heap still grows"):
                look()
                # A small Python object may hold much other memory, as a connection or an image does.
                native = allocator.malloc_in_use() or 0
                traced.costly = max(live[looks - 1] - live[job.warm_up], native - in_use) >= LIMITS.costs_mb * MIB
                if traced.costly:
                    break
            if looks == before:
                break
        traced.seconds, traced.statuses = rounds.seconds, dict(rounds.statuses)
        gc.unfreeze()
        # Count types before the next snapshot, because a snapshot consists of thousands of tuples.
        traced.types = holder.growing_types(types, rounds.number - job.warm_up)
        grew = live[looks - 1] - live[job.warm_up]
        grown = stacks() if grew >= holder.LEAST_BYTES * job.times else []
    traced.numbers, traced.live_bytes, traced.queries = (list(values[:looks]) for values in (numbers, live, queries))
    traced.django_debug = debug()
    traced.lines = [stack.as_dict() for stack in grown]
    if grown:
        holders = holder.find_holders(grown)
        traced.chain = holders[0].chain if holders else []
        if heap.open(LIMITS.live_bytes):
            traced.bound = traced.bound or _filling(rounds, holders)
    traced.threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    endless = heap.open(LIMITS.live_bytes) and (traced.costly or heap.endless(LIMITS.live_bytes))
    if endless and not traced.bound and clock.put_forward(PUT_FORWARD_S):
        at_end = live_bytes()
        rounds.again(int(rounds.number - job.warm_up) // 10)
        traced.clock = "falls" if at_end - live_bytes() >= grew / 2 else "stays"
    return traced


def _index_lines(on: bool) -> None:
    """While this is on, Python 3.11 makes an index of the lines of each function that this thread calls.

    tracemalloc looks up the line of each caller at each allocation. Without an index Python reads the function's table
    of lines from its beginning each time. The index is made when a function runs under a trace function, and stays
    (Objects/locations.md in CPython 3.11, `_co_linearray`). Later versions have none, and nothing happens there, nor
    where the thread has a trace function already, such as a debugger's.
    """
    if sys.version_info < (3, 12) and sys.gettrace() in (None, _trace_no_lines):
        sys.settrace(_trace_no_lines if on else None)


def _trace_no_lines(*_: object) -> None:
    """A trace function that does nothing."""


def _filling(rounds: Rounds, holders: list[Any]) -> dict[str, Any]:
    """Size and bound of the first container that fills with further requests, if each of these holders has one."""
    from lowtide.tools.diagnose import holder

    before = [[holder.bound(container) for container in each.containers] for each in holders]
    if not before or not all(before):
        return {}
    rounds.again(max(10, rounds.job.times // 2))
    after = [[holder.bound(container) for container in each.containers] for each in holders]
    filling = [
        [later for earlier, later in zip(*pair, strict=True) if later["size"] > earlier["size"]]
        for pair in zip(before, after, strict=True)
    ]
    return filling[0][0] if all(filling) else {}


def measure_native(job: Job) -> Native:
    """See `Native`."""
    from lowtide.tools.diagnose import holder

    memray: Any = importlib.import_module("memray")
    rounds = Rounds(job, load(job.app))
    with tempfile.TemporaryDirectory() as folder:
        rounds.again(job.warm_up)
        with memray.Tracker(f"{folder}/trace", native_traces=True):
            rounds.again(job.times)
        records = memray.FileReader(f"{folder}/trace").get_leaked_allocation_records(merge_threads=True)
        return Native(holder.native_functions(records, job.times))


def _clear_type_cache() -> None:
    """Empty CPython's cache of attribute look-ups: it keeps the names of up to 4096, which looks like a small leak."""
    (getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache)()


def _queries() -> int:
    """Statements that Django keeps of all connections (connection.queries_log): a list only while DEBUG is on."""
    return sum(len(connection.queries_log) for connection in initialized("django.db", "connections"))


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
