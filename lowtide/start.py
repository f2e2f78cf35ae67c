"""Checks the settings, derives those that uwsgi.ini needs, and becomes the server:

    python -m lowtide.start uwsgi --ini uwsgi.ini

Reads from the environment: WORKERS, LARGE_WORKERS (how many of them are only for large requests; 0 for one pool),
WORKER_MANAGEMENT, RELOAD_ON_RSS, GIVE_BACK_MB, WORKER_CEILING (auto, off, or MiB) and LARGE_NEED_MB (MiB that one large
request needs; by default the figure in the application's lowtide.toml, with a margin); START_BESIDE (lowtide.beside).
Adds: SMALL_WORKER_IDS and LARGE_WORKER_IDS ("1,2,3" and "4"), which uwsgi.ini maps to sockets; WSGI_CALLABLE and
APP_DIR, the application that uWSGI loads; SMALL_CEILING_MB and LARGE_CEILING_MB, how far a worker of each pool may grow
(lowtide.ceiling).
Where lowtide.toml has measured figures, it prints how much memory the server may need, and whether the container's
limit is enough. A value that cannot be used, or a limit in which nothing would work, gets one line and exit code 2.
"""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lowtide import application, beside, defaults, memory, sizing, telemetry
from lowtide.environment import Unreadable, read_secrets

MANAGEMENT = ("lowtide", "article", "without")


class Unusable(Exception):
    """A setting that cannot be used; the message names it and says what to write."""


def number(environment: Mapping[str, str], name: str, default: int, least: int) -> int:
    value = environment.get(name) or str(default)
    if not value.isdecimal() or int(value) < least:
        raise Unusable(f"{name}={value} cannot be used: write a whole number of at least {least}.")
    return int(value)


def settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Every variable that uwsgi.ini and lowtide.uwsgi read, checked, with defaults.

    Raises:
        Unusable: a value that uWSGI would misread without saying so.
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
    admission = environment.get("ADMISSION") or defaults.ADMISSION
    if admission not in ("auto", "off") and not (admission.isdecimal() and int(admission)):
        raise Unusable(f"ADMISSION={admission} cannot be used: write auto, off, or a whole number of MiB.")
    switches = {
        "LEARN_ROUTES": environment.get("LEARN_ROUTES") or defaults.LEARN_ROUTES,
        "IMMORTAL": environment.get("IMMORTAL") or defaults.IMMORTAL,
    }
    for name, switch in switches.items():
        if switch not in ("0", "1"):
            raise Unusable(f"{name}={switch} cannot be used: write 1 or 0.")
    if problem := telemetry.problem(environment):
        raise Unusable(problem)
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
        "ADMISSION": admission,
        **switches,
    }


def files_mb(limit_mb: float) -> float:
    """How much of the container's memory files in /tmp may take, MiB; 0 unless it is a tmpfs with a size of its own."""
    with suppress(OSError):
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        if ["/tmp", "tmpfs"] in mounts:  # noqa: S108
            figures = os.statvfs("/tmp")  # noqa: S108
            size_mb = figures.f_blocks * figures.f_frsize / memory.MIB
            # Without a size of its own a tmpfs may grow to half of the machine, which is no bound here.
            return size_mb if size_mb < limit_mb / 2 else 0.0
    return 0.0


def ceilings(checked: Mapping[str, str], load: sizing.Load | None) -> dict[str, str]:
    """SMALL_CEILING_MB and LARGE_CEILING_MB: how far a worker of each pool may grow; empty for no bound."""
    chosen, limit_mb = checked["WORKER_CEILING"], memory.limit_mb()
    small = large = ""
    if chosen not in ("auto", "off"):
        small = large = chosen
    elif chosen == "auto" and limit_mb and checked["WORKER_MANAGEMENT"] == "lowtide":
        workers, large_workers, rss_mb = (int(checked[name]) for name in ("WORKERS", "LARGE_WORKERS", "RELOAD_ON_RSS"))
        load = load or sizing.supposed(workers, rss_mb)
        # With 0 the start was not checked. A ceiling without room for any large request would refuse all of them.
        need_mb = int(checked["LARGE_NEED_MB"] or 0) or load.need_mb
        bound = sizing.bound(load, workers, large_workers, rss_mb, need_mb)
        small, large = map(str, sizing.ceilings(bound, large_workers, limit_mb, files_mb(limit_mb)))
    return {"SMALL_CEILING_MB": small, "LARGE_CEILING_MB": large}


def check_limit(checked: Mapping[str, str], load: sizing.Load) -> str:
    """One line that says how much memory these settings may need with this load.

    Raises:
        Unusable: the container's limit is below an idle server and one large request.
    """
    reload_on_rss = {"without": 0, "article": 512}.get(checked["WORKER_MANAGEMENT"], int(checked["RELOAD_ON_RSS"]))
    result = sizing.check(
        int(checked["WORKERS"]),
        int(checked["LARGE_WORKERS"]),
        reload_on_rss,
        int(checked["LARGE_NEED_MB"] or load.need_mb),
        memory.limit_mb(),
        load,
    )
    if not result.possible:
        raise Unusable(result.line)
    return result.line


def derived(environment: Mapping[str, str], described: application.Application | None) -> tuple[dict[str, str], str]:
    """What the server gets beside `environment`, and one line on the memory that it may need; empty without figures.

    Raises:
        Unusable: a setting cannot be used, or nothing would work in the container's limit.
        Invalid: the figures in lowtide.toml cannot be used.
    """
    checked, load, line = settings(environment), None, ""
    if described:
        checked |= {"APP_DIR": str(described.folder), "WSGI_CALLABLE": described.server, **described.environment}
        # Under which name OpenTelemetry shows the requests.
        checked["OTEL_SERVICE_NAME"] = environment.get("OTEL_SERVICE_NAME") or described.name
        if load := sizing.measured(described):
            line = check_limit(checked, load)
    checked |= ceilings(checked, load)
    if load and not int(checked["LARGE_NEED_MB"] or 0):
        checked["LARGE_NEED_MB"] = str(load.need_mb)
    return checked, line


def main(arguments: list[str]) -> int:
    if not arguments:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        read_secrets()
        checked, line = derived(os.environ, application.read() if application.find() else None)
        if line:
            print(line, file=sys.stderr, flush=True)
        if os.environ.get("START_BESIDE") == "1":
            checked["RUN_DIR"] = beside.prepare(os.environ["RUN_DIR"])
        os.environ.update(checked)
    except (Unusable, application.Invalid, Unreadable) as problem:
        print(problem, file=sys.stderr)
        return 2
    try:
        os.execvp(arguments[0], arguments)  # noqa: S606
    except OSError as error:
        print(f"{arguments[0]} cannot be started: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
