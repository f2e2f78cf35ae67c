"""Checks the settings of the pools, names their workers, and becomes the server:

    python -m lowtide.start uwsgi --ini uwsgi.ini

Environment: WORKERS, LARGE_WORKERS (of them; 0 for one pool), WORKER_MANAGEMENT, RELOAD_ON_RSS, GIVE_BACK_MB and
LARGE_NEED_MB (MiB; what one large request needs, by default what the application's lowtide.toml has measured). Adds
SMALL_WORKER_IDS and LARGE_WORKER_IDS ("1,2,3" and "4"), which uwsgi.ini maps to sockets, and from lowtide.toml
WSGI_CALLABLE and APP_DIR: what it loads and where that is. Where lowtide.toml has figures it says what the server can
come to need, and whether the container's limit holds that. SMALL_CEILING_MB and LARGE_CEILING_MB are how far a worker
of each pool may grow (lowtide.ceiling), made of WORKER_CEILING (auto, off, or MiB).
Exit code 2 and one line for a value that cannot be used, and for a limit in which nothing would work.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lowtide import application, defaults, memory, sizing

MANAGEMENT = ("lowtide", "article", "without")


class Unusable(Exception):
    """A setting that cannot be used; the message names it and says what to write."""


def number(environment: Mapping[str, str], name: str, default: int, least: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal() or int(value) < least:
        raise Unusable(f"{name}={value} cannot be used: write a whole number of at least {least}.")
    return int(value)


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Every variable that uwsgi.ini reads, checked, with defaults.

    Raises:
        Unusable: a value that uWSGI would misread in silence.
    """
    workers = number(environment, "WORKERS", defaults.WORKERS, 1)
    large = number(environment, "LARGE_WORKERS", defaults.LARGE_WORKERS if workers > 1 else 0, 0)
    if large >= workers:
        raise Unusable(
            f"LARGE_WORKERS={large} of WORKERS={workers} leaves none for small requests: write less, or 0 for one pool."
        )
    management = environment.get("WORKER_MANAGEMENT") or defaults.WORKER_MANAGEMENT
    if management not in MANAGEMENT:
        raise Unusable(f"WORKER_MANAGEMENT={management} does not exist: write {', '.join(MANAGEMENT)}.")
    ceiling = environment.get("WORKER_CEILING") or defaults.WORKER_CEILING
    if ceiling not in ("auto", "off") and not (ceiling.isdecimal() and int(ceiling)):
        raise Unusable(f"WORKER_CEILING={ceiling} cannot be used: write auto, off, or a whole number of MiB.")
    need = environment.get("LARGE_NEED_MB") and str(number(environment, "LARGE_NEED_MB", 0, 0))
    ids = [str(worker) for worker in range(1, workers + 1)]
    return {
        "WORKERS": str(workers),
        "LARGE_WORKERS": str(large),
        "SMALL_WORKER_IDS": ",".join(ids[: workers - large]),
        "LARGE_WORKER_IDS": ",".join(ids[workers - large :]),
        "WORKER_MANAGEMENT": management,
        "RELOAD_ON_RSS": str(number(environment, "RELOAD_ON_RSS", defaults.RELOAD_ON_RSS, 1)),
        "GIVE_BACK_MB": str(number(environment, "GIVE_BACK_MB", defaults.GIVE_BACK_MB, 0)),
        "LEDGER": str(number(environment, "LEDGER", defaults.LEDGER, 0)),
        "LARGE_NEED_MB": need or "",
        "QUEUE_S": str(number(environment, "QUEUE_S", defaults.QUEUE_S, 0)),
        "WORKER_CEILING": ceiling,
    }


def files_mb(limit_mb: float) -> float:
    """What /tmp may take of the container's memory, MiB, where it is in memory and has a size of its own."""
    with suppress(OSError):
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        if ["/tmp", "tmpfs"] in mounts:  # noqa: S108
            figures = os.statvfs("/tmp")  # noqa: S108
            size_mb = figures.f_blocks * figures.f_frsize / memory.MIB
            # By default a tmpfs may grow to half of the machine, which says nothing.
            return size_mb if size_mb < limit_mb / 2 else 0.0
    return 0.0


def ceilings(found: Mapping[str, str], load: sizing.Load | None) -> dict[str, str]:
    """SMALL_CEILING_MB and LARGE_CEILING_MB: how far a worker of each pool may grow; empty for no bound."""
    chosen, limit_mb = found["WORKER_CEILING"], memory.limit_mb()
    small = large = ""
    if chosen not in ("auto", "off"):
        small = large = chosen
    elif chosen == "auto" and limit_mb and found["WORKER_MANAGEMENT"] == "lowtide":
        workers, large_workers, rss_mb = (int(found[name]) for name in ("WORKERS", "LARGE_WORKERS", "RELOAD_ON_RSS"))
        load = load or sizing.supposed(workers, rss_mb)
        need_mb = int(found["LARGE_NEED_MB"] or load.need_mb)
        bound = sizing.bound(load, workers, large_workers, rss_mb, need_mb)
        small, large = map(str, sizing.ceilings(bound, large_workers, limit_mb, files_mb(limit_mb)))
    return {"SMALL_CEILING_MB": small, "LARGE_CEILING_MB": large}


def check_limit(found: Mapping[str, str], load: sizing.Load) -> str:
    """What these settings can come to need with this load, in one line.

    Raises:
        Unusable: the container's limit is below an idle server and one large request.
    """
    reload_on_rss = {"without": 0, "article": 512}.get(found["WORKER_MANAGEMENT"], int(found["RELOAD_ON_RSS"]))
    checked = sizing.check(
        int(found["WORKERS"]),
        int(found["LARGE_WORKERS"]),
        reload_on_rss,
        int(found["LARGE_NEED_MB"] or load.need_mb),
        memory.limit_mb(),
        load,
    )
    if not checked.possible:
        raise Unusable(checked.line)
    return checked.line


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        found, load = settings(os.environ), None
        if application.find():
            described = application.read()
            found |= {"APP_DIR": str(described.folder), "WSGI_CALLABLE": described.wsgi}
            if load := sizing.measured(described):
                print(check_limit(found, load), file=sys.stderr, flush=True)
        found |= ceilings(found, load)
        os.environ.update(found)
    except (Unusable, application.Invalid) as problem:
        print(problem, file=sys.stderr)
        return 2
    try:
        os.execvp(arguments[0], arguments)  # noqa: S606
    except OSError as error:
        print(f"{arguments[0]} cannot be started: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
