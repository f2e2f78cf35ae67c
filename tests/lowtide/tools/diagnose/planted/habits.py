"""What applications do with memory, as people write it, good habits and bad ones: one WSGI application for each.

`habits:NAME` is the application. What each keeps comes with its request's number, so no two requests are alike.
"""

import atexit
import collections
import contextvars
import ctypes
import datetime
import functools
import io
import itertools
import logging
import logging.handlers
import re
import sqlite3
import sys
import threading
import time
import warnings
import weakref
import zlib
from collections.abc import Callable
from typing import Any

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer


def habit(work: Callable[[int], object]) -> Callable[[Environ, StartResponse], list[bytes]]:
    """The application that does `work` with the number of each request."""
    numbers = itertools.count()

    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        work(next(numbers))
        return answer(start_response)

    return application


# Caches.

results: dict[int, bytes] = {}
recent: collections.deque[str] = collections.deque(maxlen=600)
ordered: collections.OrderedDict[int, bytes] = collections.OrderedDict()
memo: dict[int, bytes] = {}


@habit
def cache_cleared(number: int) -> None:
    """A dictionary that is emptied when it has a thousand entries."""
    if len(results) >= 1000:
        results.clear()
    results[number] = bytes(1_000)


@habit
def cache_oldest_out(number: int) -> None:
    """Least recently used out, written by hand."""
    ordered[number] = bytes(2_000)
    if len(ordered) > 400:
        ordered.popitem(last=False)


@functools.lru_cache(maxsize=300)
def page(number: int) -> str:
    return f"page {number} " * 200


cache_lru = habit(page)


@functools.cache
def language(code: int) -> str:
    return f"language {code} " * 300


@habit
def cache_few_keys(number: int) -> None:
    """No bound, and no need of one: there are sixty keys."""
    language(number % 60)


@habit
def cache_recent(number: int) -> None:
    recent.append(f"request {number} " * 20)


@habit
def cache_random_keys(number: int) -> None:
    """No bound, and 1,500 keys that come at random: it fills ever more slowly."""
    key = zlib.crc32(b"%d" % number) % 1_500
    memo.setdefault(key, bytes(1_000))


@habit
def cache_of_large_pages(number: int) -> None:
    """A dictionary that is emptied at a thousand entries, as `cache_cleared`, and comes to 20 MB by then."""
    if len(results) >= 1000:
        results.clear()
    results[number] = bytes(20_000)


class Report:
    def __init__(self, number: int) -> None:
        self.rows = bytearray(8_000)

    @functools.lru_cache(maxsize=128)  # noqa: B019 - the habit
    def total(self) -> int:
        return len(self.rows)


@habit
def cache_on_a_method(number: int) -> None:
    """The cache of a method keeps the last 128 instances."""
    Report(number).total()


@habit
def cache_patterns(number: int) -> None:
    """The module re keeps 512 compiled patterns."""
    re.search(rf"^(item|row) {number} (\d+)$", "row 1")


# What is kept for a time.

fresh: dict[int, tuple[float, bytes]] = {}
sessions: dict[int, tuple[datetime.datetime, bytes]] = {}


@habit
def kept_for_five_minutes(number: int) -> None:
    now = time.monotonic()
    for key in [key for key, (until, _) in itertools.islice(fresh.items(), 20) if until < now]:
        del fresh[key]
    for key in [key for key, (until, _) in fresh.items() if until < now] if number % 100 == 0 else []:
        del fresh[key]
    fresh[number] = (now + 300, bytes(500))


@habit
def sessions_swept(number: int) -> None:
    """Old sessions are swept away once in fifty requests."""
    now = datetime.datetime.now(datetime.UTC)
    if number % 50 == 0:
        for key, (begun, _) in list(sessions.items()):
            if now - begun > datetime.timedelta(minutes=10):
                del sessions[key]
    sessions[number] = (now, bytes(1_000))


# Lists that are pruned, buffers that are flushed.

database = sqlite3.connect(":memory:", check_same_thread=False)
listeners: list[weakref.ref[Any]] = []
events: list[dict[str, object]] = []
quiet = logging.getLogger(f"{__name__}.quiet")
quiet.propagate = False
quiet.addHandler(logging.handlers.MemoryHandler(1_000, target=logging.StreamHandler(io.StringIO())))
quiet.handlers[0].target.stream.write = lambda text: len(text)  # type: ignore[attr-defined]


@habit
def pruned_cursors(number: int) -> None:
    """sqlite3 keeps weak references to a connection's cursors and drops the dead ones once in 200."""
    for _ in range(3):
        database.execute("SELECT ?", (number,)).fetchall()


class Listener:
    pass


@habit
def pruned_references(number: int) -> None:
    """Dead references are dropped once there are 400."""
    listeners.append(weakref.ref(Listener(), lambda _: None))
    if len(listeners) > 400:
        listeners[:] = [listener for listener in listeners if listener() is not None]


@habit
def flushed_events(number: int) -> None:
    """A client of statistics that sends two hundred events at once."""
    events.append({"event": "view", "number": number, "text": f"text {number} " * 40})
    if len(events) >= 200:
        events.clear()


@habit
def flushed_log(number: int) -> None:
    quiet.warning("request %s of %s", number, "x" * 200)


# Threads and contexts.

current: contextvars.ContextVar[bytes] = contextvars.ContextVar("current")
local = threading.local()
crew: list[threading.Thread] = []
work_to_do = threading.Event()


@habit
def context_set(number: int) -> None:
    """A context variable that is set and never reset."""
    current.set(bytes(5_000))


@habit
def thread_each(number: int) -> None:
    """A thread for each request, with something of its own, that ends."""

    def work() -> None:
        local.kept = bytes(50_000)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@habit
def thread_crew(number: int) -> None:
    """Threads that are started one by one, up to sixty."""
    if len(crew) < 60:
        crew.append(threading.Thread(target=work_to_do.wait, daemon=True))
        crew[-1].start()


@habit
def pool_of_connections(number: int) -> None:
    """A pool that opens up to 25 connections, each with its buffer, before it reuses one."""
    if len(pool) < 25:
        pool.append(bytearray(16_000))


pool: list[bytearray] = []

# What the garbage collector deals with.


class Node:
    def __init__(self, number: int) -> None:
        self.itself = self
        self.data = bytes(3_000)


nodes: weakref.WeakValueDictionary[int, Node] = weakref.WeakValueDictionary()


@habit
def cycles(number: int) -> None:
    nodes[number] = Node(number)


@habit
def exceptions(number: int) -> None:
    """An exception that refers to the frame that refers to it."""
    data = bytes(10_000)
    try:
        raise ValueError(data)
    except ValueError as error:
        kept = error
    assert kept


counters: collections.Counter[tuple[str, int]] = collections.Counter()


@habit
def counted(number: int) -> None:
    """Counters by status and route, as metrics have them."""
    counters["/page/", number % 12] += 1


@habit
def interned(number: int) -> None:
    sys.intern(f"a name {number % 40}")


# C code.

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks: list[int] = []


def block() -> int:
    address: int = libc.malloc(40_000)
    ctypes.memset(address, 1, 40_000)
    return address


@habit
def native_pool(number: int) -> None:
    """A C library that keeps up to 150 buffers."""
    if len(blocks) < 150:
        blocks.append(block())


@habit
def native_emptied(number: int) -> None:
    """A C library that frees what it holds once in 300."""
    blocks.append(block())
    if len(blocks) >= 300:
        while blocks:
            libc.free(blocks.pop())


@habit
def native_database(number: int) -> None:
    """A database in memory, opened, filled and closed."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE row (text)")
    connection.executemany("INSERT INTO row VALUES (?)", [(f"row {row}" * 20,) for row in range(100)])
    connection.close()


# Leaks.

rows: list[bytes] = []
loud = logging.getLogger(f"{__name__}.loud")
registry: dict[str, type] = {}
kept_by_thread = threading.local()
connections: list[sqlite3.Connection] = []


@functools.cache
def rendered(number: int) -> str:
    return f"rendered {number} " * 20


leak_lru_without_bound = habit(rendered)


@habit
def leak_handlers(number: int) -> None:
    """A handler of the log for each request, and none is removed."""
    loud.addHandler(logging.NullHandler())


class Client:
    def __init__(self) -> None:
        self.history: list[str] = []


@functools.lru_cache(maxsize=16)
def client() -> Client:
    return Client()


@habit
def leak_behind_a_bound(number: int) -> None:
    """A cache of one entry, and that entry grows."""
    client().history.append(f"request {number} " * 20)


@habit
def leak_classes(number: int) -> None:
    registry[f"Form{number}"] = type(f"Form{number}", (), {"number": number})


@habit
def leak_in_a_thread_local(number: int) -> None:
    vars(kept_by_thread).setdefault("queries", []).append(f"SELECT {number} " * 10)


@habit
def leak_at_exit(number: int) -> None:
    atexit.register(functools.partial(str.strip, f"file {number} " * 30))


@habit
def leak_now_and_then(number: int) -> None:
    """Every eighth request leaves 6 KB."""
    if number % 8 == 0:
        results[number] = bytes(6_000)


@habit
def leak_connections(number: int) -> None:
    connections.append(sqlite3.connect(":memory:"))


@habit
def leak_beside_a_cache(number: int) -> None:
    """A cache that is emptied at 100, and beside it a list that is not."""
    if len(results) >= 100:
        results.clear()
    results[number] = bytes(300)
    rows.append(bytes(2_000))


@habit
def leak_behind_a_cache(number: int) -> None:
    """A cache that fills faster than the list beside it grows."""
    page(number)
    rows.append(bytes(1_000))


@habit
def leak_warnings(number: int) -> None:
    """A warning with the request's number in it: Python keeps each text, to show none twice."""
    warnings.warn(f"request {number} has no session", stacklevel=1)
