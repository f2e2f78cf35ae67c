"""Finds what has grown since the warm-up, and the chain of references that keeps it alive."""

import functools
import gc
import importlib
import logging.handlers
import re
import sys
import sysconfig
import time
import tracemalloc
import types
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from lowtide.tools.diagnose.django_state import initialized
from lowtide.tools.diagnose.trend import LIMITS

objgraph: Any = importlib.import_module("objgraph")

TOP = 5
# Bytes per request. A place that grows by less is not listed.
LEAST_BYTES = 16
# The number of objects to look at: enough to contain a typical one, and few enough to be found quickly.
CANDIDATES = 30
# Of the processor, so that what else runs on the machine does not decide what is found.
SEARCH_S = 10.0
_OWN = str(Path(__file__).parent)
_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), "<frozen")


@dataclass(frozen=True)
class Stack:
    """Memory allocated at one place and still alive. Bytes and blocks are what each request added.

    Attributes:
        traceback: the place, with its callers, the innermost last.
    """

    traceback: tracemalloc.Traceback
    bytes_per_request: float
    blocks_per_request: float

    def as_dict(self) -> dict[str, Any]:
        frames = [f"{frame.filename}:{frame.lineno}" for frame in reversed(self.traceback)]
        own = [frame for frame in frames if not frame.startswith((*_LIBRARIES, _OWN))]
        return {
            # `line` is the innermost line of the application's code, `allocated_at` the line that allocated.
            "line": (own or frames)[0],
            "allocated_at": frames[0],
            "bytes_per_request": round(self.bytes_per_request, 1),
            "blocks_per_request": round(self.blocks_per_request, 2),
            "traceback": [frame for frame in frames if not frame.startswith(_OWN)],
        }


def growing_stacks(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, requests: int) -> list[Stack]:
    """The places whose live memory grew most, the largest first."""
    places = sorted(after.compare_to(before, "traceback"), key=lambda item: -item.size_diff)
    return [
        Stack(item.traceback, item.size_diff / requests, item.count_diff / requests)
        for item in places
        if item.size_diff >= LEAST_BYTES * requests and not _measuring(item.traceback)
    ][:TOP]


def _measuring(place: tracemalloc.Traceback) -> bool:
    """Whether the measuring itself allocated this memory, and not a request."""
    files = {frame.filename for frame in place}
    return f"{_OWN}/request.py" not in files and any(file.startswith(_OWN) for file in files)


def native_functions(records: Iterable[Any], requests: int) -> list[dict[str, Any]]:
    """From memray's records of memory that was not freed: C functions that left some in at least every second request,
    each with the line of the application that called it; the largest first."""
    totals: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.n_allocations * 2 < requests:
            continue
        frames = record.hybrid_stack_trace(max_stacks=20)
        lines = [f"{file}:{line}" for _, file, line in record.stack_trace(max_stacks=50)]
        own = [line for line in lines if not line.startswith((*_LIBRARIES, _OWN))]
        total = totals.setdefault((frames[0][0] if frames else "unknown", (own or lines or [""])[0]), [0, 0])
        total[0] += record.size / requests
        total[1] += record.n_allocations / requests
    largest = sorted(totals.items(), key=lambda item: -item[1][0])[:TOP]
    return [
        {
            "function": name,
            "line": line,
            "bytes_per_request": round(size, 1),
            "allocations_per_request": round(count, 2),
        }
        for (name, line), (size, count) in largest
    ]


def count_types() -> Counter[str]:
    """How many objects of each type the garbage collector knows."""
    counts: Counter[str] = Counter()
    # By the type's name and not by the type: it would be kept alive, and an application makes types too.
    for kind, count in Counter(map(type, gc.get_objects())).items():
        counts[f"{kind.__module__}.{kind.__name__}"] += count
    return counts


def growing_types(before: Counter[str], requests: int) -> list[dict[str, Any]]:
    """The types that gained at least one instance in two requests, those that grew most first."""
    grown = [(count - before[name], name) for name, count in count_types().items()]
    return [
        {"type": name, "per_request": round(more / requests, 2)}
        for more, name in sorted(grown, reverse=True)[:TOP]
        if more * 2 >= requests
    ]


@dataclass(frozen=True)
class Holder:
    """What holds an object that each request leaves behind.

    Attributes:
        chain: from a module to the object. Each link has its `type`, and as `label` how the link before refers to it
            (`.kept`, `[3]`).
        containers: those of the chain that have a bound.
    """

    chain: list[dict[str, str]]
    containers: list[Any]


def find_holders(stacks: list[Stack]) -> list[Holder]:
    """Find what holds an object from each of these places, where that is found in SEARCH_S seconds.

    Of places that come after the first, only those are looked at that alone would be a leak.
    """
    deadline = time.process_time() + SEARCH_S
    stacks = [stack for stack in stacks if stack is stacks[0] or stack.bytes_per_request >= LIMITS.live_bytes]
    targets = _allocated_at([stack.traceback for stack in stacks], deadline)
    holders: list[Holder] = []
    for target, *beyond in targets:
        ignored = [id(targets), id(holders), id(sys._getframe())]

        def head(holder: Any) -> bool:
            return time.process_time() > deadline or bool(objgraph.is_proper_module(holder))

        chain = objgraph.find_backref_chain(target, head, max_depth=20, extra_ignore=ignored)
        if objgraph.is_proper_module(chain[0]):
            chain += beyond
            holders.append(Holder(list(_described(chain)), [container for container in chain if bound(container)]))
    return holders


def _allocated_at(places: list[tracemalloc.Traceback], deadline: float) -> list[tuple[Any, ...]]:
    """A typical object that was allocated at each of these places according to tracemalloc, if there is one.

    It may be held by a dictionary or tuple of only text and numbers. The garbage collector, and so objgraph, does not
    know such a holder, so it stands before the object in the result.
    """
    found: dict[tracemalloc.Traceback, dict[int, tuple[Any, ...]]] = {place: {} for place in places}
    missing = set(places)
    traceback_of, is_tracked = tracemalloc.get_object_traceback, gc.is_tracked

    def add(item: Any, trace: tracemalloc.Traceback | None, *holder: Any) -> None:
        if trace in missing:
            found[trace].setdefault(id(item), (*holder, item))
            if len(found[trace]) >= CANDIDATES:
                missing.remove(trace)

    # A container that grows is large, so with the largest first the search usually ends after a few.
    for number, container in enumerate(sorted(gc.get_objects(), key=_size, reverse=True)):
        # Asking the kernel for the time takes as long as looking at many small containers.
        if not missing or (number % 1000 == 0 and time.process_time() > deadline):
            break
        # The garbage collector does not know text and bytes, so they are found through their containers.
        for item in (container, *gc.get_referents(container)):
            # Objects without a trace existed before the tracing. Of these only a dictionary is searched: it may grow.
            if (trace := traceback_of(item)) is None and type(item) is not dict:
                continue
            add(item, trace)
            if type(item) in (dict, tuple) and not is_tracked(item):
                for inner in gc.get_referents(item):
                    add(inner, traceback_of(inner), item)
    return [list(objects.values())[len(objects) // 2] for objects in found.values() if objects]


def _size(container: Any) -> int:
    return sys.getsizeof(container, 0)


def bound(container: Any) -> dict[str, Any]:
    """Size and bound of a cache of functools, a deque, a log handler's buffer, a cache with `maxsize` and `currsize` as
    cachetools has, or one of those in `_library_caches`."""
    size = most = None
    name = getattr(container, "__qualname__", type(container).__qualname__)
    if isinstance(container, functools._lru_cache_wrapper):
        size, most = container.cache_info().currsize, container.cache_info().maxsize
    elif isinstance(container, deque):
        size, most = len(container), container.maxlen
    elif isinstance(container, logging.handlers.BufferingHandler):
        size, most = len(container.buffer), container.capacity
    elif known := [(name, most) for name, cache, most in _library_caches() if cache is container]:
        size, (name, most) = len(container), known[0]
    elif not isinstance(container, types.ModuleType | type):
        size, most = getattr(container, "currsize", None), getattr(container, "maxsize", None)
    if not isinstance(size, int) or not isinstance(most, int | float) or most == float("inf"):
        return {}
    return {"type": type(container).__name__.lstrip("_"), "name": name, "size": size, "bound": most}


def _library_caches() -> Iterator[tuple[str, Any, Any]]:
    """Name, dictionary and bound of caches whose bound is kept beside them: that of the module re, and Django's."""
    yield "re._cache", getattr(re, "_cache", None), getattr(re, "_MAXCACHE", None)
    yield "re._cache2", getattr(re, "_cache2", None), getattr(re, "_MAXCACHE2", None)
    for cache in initialized("django.core.cache", "caches"):
        for kept in ("_cache", "_expire_info"):
            yield type(cache).__qualname__, getattr(cache, kept, None), getattr(cache, "_max_entries", None)


def _described(chain: list[Any]) -> Iterator[dict[str, str]]:
    yield {"type": "module", "label": chain[0].__name__}
    for source, target in pairwise(chain):
        # Leave out the dictionary of an object's attributes, because the attribute's name says it all.
        if getattr(source, "__dict__", None) is target:
            continue
        yield {"type": type(target).__qualname__, "label": _label(source, target, chain)}


def _label(source: Any, target: Any, chain: list[Any]) -> str:
    """How `source` refers to `target`."""
    if isinstance(source, dict):
        for key, value in source.items():
            if value is target:
                owned = any(getattr(owner, "__dict__", None) is source for owner in chain)
                return f".{key}" if owned else f"[{repr(key)[:40]}]"
            if key is target:
                return " key"
    if isinstance(source, list | tuple | deque):
        return next((f"[{index}]" for index, item in enumerate(source) if item is target), "")
    names = [*getattr(source, "__dict__", {}), *getattr(type(source), "__slots__", ())]
    if isinstance(source, types.FunctionType):
        names = ["__closure__", "__defaults__", "__kwdefaults__", *names]
    if isinstance(source, types.CellType):
        names = ["cell_contents"]
    return next((f".{name}" for name in names if getattr(source, name, None) is target), "")
