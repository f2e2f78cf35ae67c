"""The variants that are compared: the same stack, with these variables of its environment set.

`make loadtest` runs the first, the second and `lowtide`, `make compare` all of them in this order.
"""

from dataclasses import dataclass, field
from typing import Literal

ONE_POOL = {"LARGE_WORKERS": "0"}
# Nothing is given back, and no worker is stopped before the kernel kills one.
KEEP = {"GIVE_BACK_MB": "0", "WORKER_CEILING": "off"}
WITHOUT = ONE_POOL | KEEP | {"WORKER_MANAGEMENT": "without"}


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    Attributes:
        environment: variables of the whole stack.
        server: what stands behind nginx; loadtest/measure/servers.py starts it.
        variables: variables of the server's processes alone, most of them for its allocator.
        preload: the library that stands in for glibc's allocator, as in lib<preload>.so.
        source: where the settings of a row that is not ours come from, addresses with spaces between.
        streaming: each large request is sent as its streaming counterpart (loadtest/load/scenarios.py).
        by_name_only: it is measured where VARIANTS names it, and VARIANTS=all leaves it out.
    """

    name: str
    label: str
    environment: dict[str, str]
    server: Literal["uwsgi", "gunicorn", "granian", "uvicorn"] = "uwsgi"
    variables: dict[str, str] = field(default_factory=dict)
    preload: str = ""
    source: str = ""
    streaming: bool = False
    by_name_only: bool = False


# Where the settings of each row come from: the documentation of the allocator or the server.
MALLOPT = "https://man7.org/linux/man-pages/man3/mallopt.3.html"
ARENAS = "https://devcenter.heroku.com/articles/tuning-glibc-memory-behavior"
JEMALLOC = "https://github.com/jemalloc/jemalloc/blob/dev/TUNING.md"
MIMALLOC = "https://github.com/microsoft/mimalloc#environment-options"
GUNICORN = "https://docs.gunicorn.org/en/latest/settings.html"
GUNICORN_UWSGI = "https://gunicorn.org/uwsgi"
GRANIAN = "https://github.com/emmett-framework/granian#backpressure"
UVICORN = "https://docs.djangoproject.com/en/5.2/howto/deployment/asgi/uvicorn/"
PERSISTENT = "https://docs.djangoproject.com/en/5.2/ref/databases/#persistent-database-connections"
# What Heroku sets for programs with threads.
TWO_ARENAS = {"MALLOC_ARENA_MAX": "2"}
# For giving back in workers with threads: malloc_trim does not reach the top of an arena that glibc makes for a thread.
ONE_ARENA = {"MALLOC_ARENA_MAX": "1"}


def gunicorn(name: str, label: str) -> Variant:
    return Variant(name, label, ONE_POOL, server="gunicorn", source=GUNICORN)


def granian(name: str, label: str, variables: dict[str, str] | None = None) -> Variant:
    return Variant(name, label, ONE_POOL, server="granian", variables=variables or {}, source=GRANIAN)


def uvicorn(name: str, label: str, variables: dict[str, str]) -> Variant:
    # Under ASGI each request has a thread of its own, and nobody closes its connection: the database runs out of them.
    return Variant(
        name,
        label,
        ONE_POOL,
        server="uvicorn",
        variables=variables | {"CONN_MAX_AGE": "0"},
        source=f"{UVICORN} {PERSISTENT}",
    )


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("without", "No worker management at all.", WITHOUT),
        Variant("article", "The article's four values, verbatim.", ONE_POOL | KEEP | {"WORKER_MANAGEMENT": "article"}),
        Variant("sized", "Recycling only, sized to the container; one pool.", ONE_POOL | KEEP),
        Variant("trim", "Giving back only; one pool.", ONE_POOL | {"WORKER_MANAGEMENT": "without"}),
        Variant("contained", "Two pools and recycling, nothing given back.", KEEP),
        Variant("lowtide", "What the stack ships: two pools, giving back, recycling.", {}),
        Variant(
            "trim-threshold",
            "without, and MALLOC_TRIM_THRESHOLD_=131072: glibc trims from 128 KiB on.",
            WITHOUT,
            variables={"MALLOC_TRIM_THRESHOLD_": "131072"},
            source=MALLOPT,
        ),
        Variant(
            "mmap-threshold",
            "without, and MALLOC_MMAP_THRESHOLD_=131072: blocks from 128 KiB on are mapped alone.",
            WITHOUT,
            variables={"MALLOC_MMAP_THRESHOLD_": "131072"},
            source=MALLOPT,
        ),
        # These workers have one thread, so they have one arena in any case.
        Variant(
            "arena-max",
            "without, and MALLOC_ARENA_MAX=2: glibc makes no more arenas.",
            WITHOUT,
            variables={"MALLOC_ARENA_MAX": "2"},
            source=ARENAS,
            by_name_only=True,
        ),
        Variant(
            "jemalloc",
            "without, on jemalloc with a background thread and short decay.",
            WITHOUT,
            # The example of TUNING.md for little memory, and its background thread, which a fork ends: jemalloc has
            # none in a child (src/background_thread.c, background_thread_postfork_child), so there freed pages decay
            # with the next requests. abort_conf ends the process at an option that this version does not know.
            variables={
                "MALLOC_CONF": "background_thread:true,narenas:1,tcache_max:1024,dirty_decay_ms:1000,muzzy_decay_ms:0,"
                "abort_conf:true"
            },
            preload="jemalloc",
            source=JEMALLOC,
        ),
        Variant(
            "mimalloc",
            "without, on mimalloc without a delay before it purges.",
            WITHOUT,
            # The second is the name of the first in mimalloc 2.0, which Debian 12 has.
            variables={"MIMALLOC_PURGE_DELAY": "0", "MIMALLOC_DECOMMIT_DELAY": "0"},
            preload="mimalloc",
            source=MIMALLOC,
        ),
        gunicorn("gunicorn", "gunicorn, sync workers, as it comes."),
        Variant(
            "gunicorn-threads",
            "gunicorn, threads, preload, max-requests with jitter.",
            ONE_POOL,
            server="gunicorn",
            variables=TWO_ARENAS,
            source=f"{GUNICORN} {ARENAS}",
        ),
        gunicorn("gunicorn-recycle", "gunicorn, preload, max-requests with jitter."),
        Variant(
            "gunicorn-pools",
            "Two gunicorns behind the two pools; a worker leaves after each large request.",
            {},
            server="gunicorn",
            source=f"{GUNICORN} {GUNICORN_UWSGI}",
        ),
        gunicorn("gunicorn-lowtide", "gunicorn, preload, giving back by lowtide.gunicorn."),
        granian("granian", "granian, WSGI, with backpressure."),
        granian("granian-recycle", "granian, backpressure, workers-max-rss and workers-lifetime."),
        granian("granian-lowtide", "granian, backpressure, giving back by lowtide.wsgi.", ONE_ARENA),
        uvicorn("uvicorn", "gunicorn with uvicorn's ASGI workers, preload, max-requests with jitter.", TWO_ARENAS),
        uvicorn("uvicorn-lowtide", "gunicorn with uvicorn's ASGI workers, giving back by lowtide.gunicorn.", ONE_ARENA),
        Variant("streaming", "What the stack ships, asked through its streaming endpoints.", {}, streaming=True),
        Variant(
            "admitted",
            "What the stack ships, with three workers for large requests, which are admitted by memory.",
            # One of them may wait for memory while two run.
            {"LARGE_WORKERS": "3", "ADMISSION": "auto"},
            by_name_only=True,
        ),
        Variant("no-ledger", "What the stack ships, without the ledger.", {"LEDGER": "0"}, by_name_only=True),
        Variant("mortal", "What the stack ships, without immortal objects.", {"IMMORTAL": "0"}, by_name_only=True),
    )
}
