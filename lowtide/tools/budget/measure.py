"""Measures how much memory a function takes, in a forked child that runs it several times.

The child is warm: it has run the function WARM_UP times before, so modules, caches and compiled queries are there. Free
places in Python's arenas are used up and free heap is given back before each run, so the figures do not depend on the
tests that ran before.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from lowtide import ledger, memory
from lowtide.give_back import Unavailable, malloc_trim
from lowtide.memory import MIB
from lowtide.tools.diagnose.allocator import fill_arenas

WARM_UP = 2
RUNS = 7
# The number of runs at the beginning that are compared with as many at the end.
_ENDS = 3
TOP = 5
_OWN = str(Path(__file__).parent) + os.sep
_LIBRARIES = (os.sep + "site-packages" + os.sep, sys.base_prefix + os.sep + "lib", "<frozen", _OWN)
# A line that holds less than this part of all is not named.
_LEAST_PART = 0.01


@dataclass
class Figures:
    """What a function took in RUNS runs.

    Attributes:
        peak_mb: MiB of RSS at the highest point of a run, above what the process held before it; the median.
        retained_mb: MiB that the process holds more with each run, garbage collected and free heap given back: the
            least after the last runs less the least after the first, because an arena of 1 MiB may come and go.
        seconds: how long a run took, the median.
        requests: the requests that Django's client sent in one run, as method and folded path.
        ended: how the function ended otherwise than by returning: `skipped` or `failed`, with `why`.
    """

    peak_mb: float = 0.0
    retained_mb: float = 0.0
    seconds: float = 0.0
    requests: list[str] = field(default_factory=list)
    ended: str = ""
    why: str = ""

    def line(self) -> str:
        """The figures in the form of the ledger's line for a large request."""
        figures = {
            "event": "large-request",
            "route": ", ".join(self.requests) or None,
            "peak_mb": round(self.peak_mb, 1),
            "retained_mb": round(self.retained_mb, 2),
            "seconds": round(self.seconds, 3),
        }
        return json.dumps({name: value for name, value in figures.items() if value is not None})


def unknown() -> str:
    """Why peaks cannot be measured on this machine, or an empty text.

    A child is asked: a process that a large one has started by exec knows no peak below that one's (getrusage(2)).
    """
    try:
        malloc_trim()
    except Unavailable as reason:
        return str(reason)
    answer = _in_child(lambda: {"why": ledger.peak_resetter()[1]}, Unavailable)
    return str(answer["why"])


def measure(function: Callable[[], Any], skipped: type[BaseException]) -> Figures:
    """Run the function in a child and say what it took. `skipped` is the exception by which a test skips itself."""
    return Figures(**_in_child(lambda: asdict(_measured(function)), skipped))


def lines(function: Callable[[], Any], skipped: type[BaseException]) -> tuple[list[str], list[str]]:
    """The lines that hold most at the peak of a run, and those that hold what a run leaves behind."""
    answer = _in_child(lambda: _traced(function), skipped)
    return answer.get("peak", []), answer.get("retained", [])


def _in_child(work: Callable[[], dict[str, Any]], skipped: type[BaseException]) -> dict[str, Any]:
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of other threads. The child does not wait for any of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            answer = work()
        except skipped as reason:
            answer = {"ended": "skipped", "why": str(reason)}
        except BaseException as error:
            answer = {"ended": "failed", "why": _why(error)}
        with suppress(OSError), os.fdopen(writer, "w") as pipe:
            json.dump(answer, pipe)
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the parent's is closed or reported twice.
        os._exit(0)
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            text = pipe.read()
    except BaseException:
        # A test that takes too long is interrupted here.
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not text:
        return {"ended": "failed", "why": f"the child that ran it was ended by signal {os.WTERMSIG(status)}"}
    figures: dict[str, Any] = json.loads(text)
    return figures


def _why(error: BaseException) -> str:
    """The traceback from the test on."""
    trace = error.__traceback__
    while trace and trace.tb_next and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _measured(function: Callable[[], Any]) -> Figures:
    requests = _requests()
    for _ in range(WARM_UP):
        requests.clear()
        function()
    figures = Figures(
        requests=[f"{name} x {count}" if count > 1 else name for name, count in Counter(requests).items()]
    )
    trim = malloc_trim()
    reset, why = ledger.peak_resetter()
    if reset is None:
        raise RuntimeError(why)

    def held_mb() -> float:
        gc.collect()
        trim(0)
        return memory.rss_mb()

    # What the collector frees would make new places.
    gc.collect()
    filled = fill_arenas()
    peaks, held, seconds = [], [held_mb()], []
    for _ in range(RUNS):
        reset()
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
        peaks.append((memory.fields_mb("self", "status", "VmHWM") or [0.0])[0] - held[-1])
        held.append(held_mb())
    del filled
    growth = (min(held[-_ENDS:]) - min(held[1 : 1 + _ENDS])) / (RUNS - _ENDS)
    figures.peak_mb, figures.retained_mb = max(0.0, median(peaks)), max(0.0, growth)
    figures.seconds = median(seconds)
    return figures


def _requests() -> list[str]:
    """A list to which each request that Django serves in this process is added."""
    served: list[str] = []
    if "django.core.signals" in sys.modules:

        def note(environ: dict[str, Any] | None = None, **_: Any) -> None:
            if environ:
                served.append(f"{environ['REQUEST_METHOD']} {ledger.fold(environ['PATH_INFO'])}")

        sys.modules["django.core.signals"].request_started.connect(note, weak=False)
    return served


def _traced(function: Callable[[], Any]) -> dict[str, Any]:
    for _ in range(WARM_UP):
        function()
    gc.collect()
    tracemalloc.start(16)
    before = tracemalloc.take_snapshot()
    tracemalloc.reset_peak()
    function()
    _, most = tracemalloc.get_traced_memory()
    gc.collect()
    kept = tracemalloc.take_snapshot().compare_to(before, "traceback")
    retained = _largest({item.traceback: item.size_diff for item in kept if item.size_diff > 0})

    high: list[tracemalloc.Snapshot] = []
    over = threading.Event()
    # Python lets another thread run every 5 ms, and a peak may be shorter.
    sys.setswitchinterval(0.0005)

    def watch() -> None:
        """Take a snapshot as soon as a run is near the peak of the run before."""
        while not high and not over.wait(0.001):
            if tracemalloc.get_traced_memory()[0] > 0.9 * most:
                high.append(tracemalloc.take_snapshot())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
    finally:
        over.set()
        watcher.join()
    at_peak = ["(it was too short to be seen from Python; memray shows it)"]
    if high:
        at_peak = _largest({item.traceback: item.size_diff for item in high[0].compare_to(before, "traceback")})
    return {"peak": at_peak, "retained": retained}


def _largest(sizes: dict[tracemalloc.Traceback, int]) -> list[str]:
    """The lines that hold most, with their MiB: of the application where one is in the traceback, else of a library."""
    by_line: Counter[str] = Counter()
    for trace, size in sizes.items():
        frames = [f"{frame.filename}:{frame.lineno}" for frame in reversed(trace)]
        application = [frame for frame in frames if not any(part in frame for part in _LIBRARIES)]
        by_line[(application or frames)[0]] += size
    least = _LEAST_PART * sum(size for size in by_line.values() if size > 0)
    return [f"{size / MIB:8.2f} MiB  {line}" for line, size in by_line.most_common(TOP) if size > least]
