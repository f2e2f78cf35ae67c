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
        malloc: variables of the server's processes alone, for glibc's allocator.
        preload: the library that stands in for glibc's allocator, as in lib<preload>.so.
        peer: which configuration of gunicorn or granian, in loadtest/measure/peers/.
        streaming: each large request is sent as its streaming counterpart (loadtest/load/scenarios.py).
        by_name_only: it is measured where VARIANTS names it, and VARIANTS=all leaves it out.
    """

    name: str
    label: str
    environment: dict[str, str]
    server: Literal["uwsgi", "gunicorn", "granian"] = "uwsgi"
    malloc: dict[str, str] = field(default_factory=dict)
    preload: str = ""
    peer: str = ""
    streaming: bool = False
    by_name_only: bool = False


def gunicorn(name: str, label: str, peer: str) -> Variant:
    return Variant(name, label, ONE_POOL, server="gunicorn", peer=peer)


def granian(name: str, label: str, peer: str) -> Variant:
    return Variant(name, label, ONE_POOL, server="granian", peer=peer)


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
            malloc={"MALLOC_TRIM_THRESHOLD_": "131072"},
        ),
        Variant(
            "arena-max",
            "without, and MALLOC_ARENA_MAX=2: glibc makes no more arenas.",
            WITHOUT,
            malloc={"MALLOC_ARENA_MAX": "2"},
        ),
        Variant("jemalloc", "without, on jemalloc.", WITHOUT, preload="jemalloc"),
        Variant("mimalloc", "without, on mimalloc.", WITHOUT, preload="mimalloc"),
        gunicorn("gunicorn", "gunicorn, sync workers, as it comes.", "default"),
        gunicorn("gunicorn-recycle", "gunicorn, preload, max-requests with jitter.", "recycle"),
        gunicorn("gunicorn-lowtide", "gunicorn, preload, giving back by lowtide.gunicorn.", "lowtide"),
        granian("granian", "granian, WSGI, as it comes.", "default"),
        granian("granian-recycle", "granian, workers-max-rss and workers-lifetime.", "recycle"),
        granian("granian-lowtide", "granian, giving back by lowtide.wsgi.", "lowtide"),
        Variant("streaming", "What the stack ships, asked through its streaming endpoints.", {}, streaming=True),
        Variant("no-ledger", "What the stack ships, without the ledger.", {"LEDGER": "0"}, by_name_only=True),
    )
}
