"""Finds what has grown since the warm-up, and the chain of references that keeps it alive."""

import functools
import gc
import importlib
import sys
import sysconfig
import time
import tracemalloc
import types
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

objgraph: Any = importlib.import_module("objgraph")

TOP = 5
# Bytes per request. A place that grows by less is not listed.
LEAST_BYTES = 16
# So many objects are enough to contain a typical one, and few enough to be found quickly.
CANDIDATES = 30
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


def count_types() -> dict[str, int]:
    """How many objects of each type the garbage collector knows."""
    counts: dict[str, int] = objgraph.typestats(shortnames=False)
    return counts


def growing_types(before: dict[str, int], requests: int) -> list[dict[str, Any]]:
    """The types that gained at least one instance in two requests, those that grew most first."""
    grown = [(count - before.get(name, 0), name) for name, count in count_types().items()]
    return [
        {"type": name, "per_request": round(more / requests, 2)}
        for more, name in sorted(grown, reverse=True)[:TOP]
        if more * 2 >= requests
    ]


def find_chain(stacks: list[Stack]) -> tuple[list[dict[str, str]], list[Any]]:
    """Find what holds an object that was allocated at one of these places; the first place with such an object is used.

    Returns:
        The chain from a module to the object, and the containers in it that have a bound. Each link has its `type`, and
        as `label` how the link before refers to it (`.kept`, `[3]`). Both are empty if nothing was found in SEARCH_S
        seconds.
    """
    deadline = time.monotonic() + SEARCH_S
    for stack in stacks:
        if candidates := _allocated_at(stack.traceback, deadline):
            target, *beyond = candidates[len(candidates) // 2]
            ignored = [id(candidates), id(sys._getframe()), id(stacks)]
            del candidates

            def head(holder: Any) -> bool:
                return time.monotonic() > deadline or bool(objgraph.is_proper_module(holder))

            chain = objgraph.find_backref_chain(target, head, max_depth=20, extra_ignore=ignored)
            if objgraph.is_proper_module(chain[0]):
                chain += beyond
                return list(_described(chain)), [container for container in chain if bound(container)]
    return [], []


def _allocated_at(place: tracemalloc.Traceback, deadline: float) -> list[tuple[Any, ...]]:
    """Up to CANDIDATES objects that were allocated there according to tracemalloc.

    An object may be held by a dictionary or tuple of only text and numbers. The garbage collector, and so objgraph,
    does not know such a holder, so it stands before the object in the result.
    """
    found: dict[int, tuple[Any, ...]] = {}
    traceback_of, is_tracked = tracemalloc.get_object_traceback, gc.is_tracked
    # A container that grows is large, so with the largest first the search usually ends after a few.
    for container in sorted(gc.get_objects(), key=_size, reverse=True):
        if len(found) >= CANDIDATES or time.monotonic() > deadline:
            break
        if container is found:
            continue
        # The garbage collector does not know text and bytes, so they are found through their containers.
        for item in (container, *gc.get_referents(container)):
            # Objects without a trace existed before the tracing. Of these only a dictionary is searched: it may grow.
            if (trace := traceback_of(item)) is None and type(item) is not dict:
                continue
            if trace == place:
                found.setdefault(id(item), (item,))
            if type(item) in (dict, tuple) and not is_tracked(item):
                for inner in gc.get_referents(item):
                    if (trace := traceback_of(inner)) is not None and trace == place:
                        found.setdefault(id(inner), (item, inner))
    return list(found.values())


def _size(container: Any) -> int:
    return sys.getsizeof(container, 0)


def bound(container: Any) -> dict[str, Any]:
    """Size and bound of a cache of functools, a deque, or a cache with `maxsize` and `currsize` as cachetools has."""
    size = most = None
    if isinstance(container, functools._lru_cache_wrapper):
        size, most = container.cache_info().currsize, container.cache_info().maxsize
    elif isinstance(container, deque):
        size, most = len(container), container.maxlen
    elif not isinstance(container, types.ModuleType | type):
        size, most = getattr(container, "currsize", None), getattr(container, "maxsize", None)
    if not isinstance(size, int) or not isinstance(most, int | float) or most == float("inf"):
        return {}
    name = getattr(container, "__qualname__", type(container).__qualname__)
    return {"type": type(container).__name__.lstrip("_"), "name": name, "size": size, "bound": most}


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
