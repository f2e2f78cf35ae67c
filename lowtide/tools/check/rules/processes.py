"""Rules about workers: who replaces them, when, and how many at once."""

import re
from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import Context, option_docs, rule

# Options that end a worker, or count on the master to do it.
_ENDS_WORKERS = (
    "max-requests",
    "max-worker-lifetime",
    "reload-on-rss",
    "reload-on-as",
    "harakiri",
    "max-requests-delta",
    "max-worker-lifetime-delta",
    "min-worker-lifetime",
    "worker-reload-mercy",
)


@rule("no-master", option_docs("master"))
def no_master(context: Context) -> Iterator[Finding]:
    """Only the master starts workers again. Without one, a worker that reaches max-requests or reload-on-rss, or that
    harakiri ends, is the end of the server; max-worker-lifetime and mercy do nothing at all."""
    if context.settings.has_master():
        return
    found = [o for name in _ENDS_WORKERS if (o := context.settings.option(name)) and context.settings.number(name) != 0]
    if found:
        names = ", ".join(f"`{option.name}`" for option in found)
        yield context.finding(
            min(found, key=lambda option: option.line),
            Level.ERROR,
            f"No master process starts a worker again or watches it, and {names} count{'s' * (len(found) == 1)} on "
            "it: the server ends with its workers.",
            "master = true",
        )


def _recycling(context: Context) -> list[Option]:
    names = ("max-requests", "reload-on-rss", "reload-on-as")
    return [o for name in names if (o := context.settings.option(name)) and context.settings.number(name) != 0]


@rule("min-worker-lifetime", option_docs("min-worker-lifetime"))
def min_worker_lifetime(context: Context) -> Iterator[Finding]:
    """max-requests and reload-on-rss spare every worker younger than min-worker-lifetime, 10 seconds unless set
    (core/utils.c:1192). A burst of large requests inflates all workers in less."""
    recycling = _recycling(context)
    option = context.settings.option("min-worker-lifetime")
    lifetime = context.settings.number("min-worker-lifetime")
    if not recycling or not lifetime:
        return
    names = " and ".join(f"`{each.name}`" for each in recycling)
    yield context.finding(
        option or recycling[-1],
        Level.WARNING if option and lifetime > 60 else Level.NOTE,
        f"{names} wait{'s' * (len(recycling) == 1)} until a worker is {lifetime} seconds old"
        + ("." if option else ", the default.")
        + " A younger one is never replaced, whatever it holds.",
        "min-worker-lifetime = 0",
    )


@rule("lifetime-order", option_docs("min-worker-lifetime"))
def lifetime_order(context: Context) -> Iterator[Finding]:
    """uWSGI refuses to start unless min-worker-lifetime, 10 by default, is below max-worker-lifetime
    (core/init.c:476)."""
    option = context.settings.option("max-worker-lifetime")
    oldest, youngest = context.settings.positive("max-worker-lifetime"), context.settings.number("min-worker-lifetime")
    if option and oldest and youngest is not None and youngest >= oldest:
        yield context.finding(
            option,
            Level.ERROR,
            f"uWSGI refuses to start: min-worker-lifetime is {youngest}, and has to be below {oldest}.",
            "min-worker-lifetime = 0",
        )


@rule("recycle-together", option_docs("max-requests-delta"))
def recycle_together(context: Context) -> Iterator[Finding]:
    """Workers that start together reach the same limit together and are replaced together. While the new ones start,
    nobody serves; with lazy-apps or slow imports that is an outage. A delta gives each worker a limit of its own."""
    if context.settings.positive("processes") < 2:
        return
    for name, step in (("max-requests", "max-requests-delta"), ("max-worker-lifetime", "max-worker-lifetime-delta")):
        option, limit = context.settings.option(name), context.settings.positive(name)
        if not option or not limit or (context.settings.number(step) != 0 and context.has_release(step)):
            continue
        known = context.table.get(step)
        lazy = context.settings.is_on("lazy-apps") or context.settings.is_on("lazy")
        yield context.finding(
            option,
            Level.WARNING,
            f"All {context.settings.positive('processes')} workers reach {limit} at about the same time and are "
            "replaced together" + (", each importing the application anew." if lazy else "."),
            f"{step} = {max(limit // 10, 1)}"
            + ("" if context.has_release(step) else f" (needs uWSGI {known.since if known else 'newer'})"),
        )


@rule("delta-without-limit", option_docs("max-requests-delta"))
def delta_without_limit(context: Context) -> Iterator[Finding]:
    """A delta is added to its limit; without the limit it does nothing."""
    for name in ("max-requests", "max-worker-lifetime"):
        option = context.settings.option(f"{name}-delta")
        if option and context.settings.number(f"{name}-delta") and context.settings.number(name) == 0:
            yield context.finding(
                option, Level.WARNING, f"There is no {name} for the delta to be added to.", f"{name} = ..."
            )


@rule("forkbomb-delay", option_docs("forkbomb-delay"))
def forkbomb_delay(context: Context) -> Iterator[Finding]:
    """When more workers than `processes` are replaced within about a second, the master sleeps for forkbomb-delay, 2
    seconds by default, and starts nobody meanwhile."""
    recycling = [option for option in _recycling(context) if option.name != "max-requests"]
    if (
        recycling
        and context.settings.option("forkbomb-delay") is None
        and context.settings.number("min-worker-lifetime") == 0
    ):
        yield context.finding(
            recycling[-1],
            Level.NOTE,
            "When a burst of requests ends more workers than there are processes, the master sleeps for 2 seconds.",
            "forkbomb-delay = 0",
        )


@rule("lifetime-unbounded", option_docs("max-worker-lifetime"))
def lifetime_unbounded(context: Context) -> Iterator[Finding]:
    """max-worker-lifetime asks a worker to stop and goes on waiting: worker-reload-mercy does not bound it
    (core/master_checks.c:254). A worker that hangs while it ends is lost for good, and with threads a worker past its
    lifetime waits for one more request."""
    option = context.settings.option("max-worker-lifetime")
    bounded = context.settings.positive("max-requests") and context.settings.positive("harakiri")
    if option and context.settings.number("max-worker-lifetime") and not bounded:
        threads = context.settings.positive("threads") > 1
        yield context.finding(
            option,
            Level.NOTE,
            "The master asks the worker once and then waits without end; worker-reload-mercy does not apply"
            + (", and with threads the worker waits for one more request." if threads else "."),
            "Keep max-requests beside it, which mercy does bound, and harakiri for requests that hang.",
        )


@rule("cheaper-not-below-processes", "Cheaper.html")
def cheaper_not_below_processes(context: Context) -> Iterator[Finding]:
    """cheaper is the least number of workers to keep; uWSGI refuses to start unless it is below `processes`."""
    option = context.settings.option("cheaper")
    cheaper, workers = context.settings.positive("cheaper"), context.settings.number("processes")
    if option and cheaper and workers is not None and cheaper >= workers:
        yield context.finding(
            option,
            Level.ERROR,
            f"uWSGI refuses to start: cheaper is {cheaper} and has to be below processes, {workers}.",
            f"processes = {cheaper + 1}",
        )


@rule("no-workers", option_docs("processes"))
def no_workers(context: Context) -> Iterator[Finding]:
    """With 0 processes the server starts and answers nobody."""
    option = context.settings.option("processes")
    if option and context.settings.number("processes") == 0:
        yield context.finding(
            option, Level.ERROR, "There is no worker to answer anybody.", "processes = 4", effective="0"
        )


_SOCKETS = (
    "socket",
    "http-socket",
    "https-socket",
    "fastcgi-socket",
    "fastcgi-nph-socket",
    "scgi-socket",
    "raw-socket",
)


@rule("map-socket", option_docs("map-socket"))
def map_socket(context: Context) -> Iterator[Finding]:
    """A worker that is mapped to no socket, or only to one that the file does not open, starts and answers nobody.
    Sockets are counted from 0 in the order of their lines, workers from 1."""
    lines = context.settings.all("map-socket")
    workers = context.settings.positive("processes")
    pairs = [re.fullmatch(r"(\d+):([\d,]+)", line.value) for line in lines]
    if not lines or not workers or not all(pairs):
        return
    served = {int(found[1]): {int(each) for each in found[2].split(",") if each} for found in pairs if found}
    sockets = range(sum(len(context.settings.all(name)) for name in _SOCKETS))
    open_to_all = any(number not in served for number in sockets)
    idle = set() if open_to_all else set(range(1, workers + 1)).difference(*(served.get(each, ()) for each in sockets))
    if sockets and idle:
        yield context.finding(
            lines[-1],
            Level.ERROR,
            f"The file opens {len(sockets)} socket{'s' * (len(sockets) != 1)}, and no line maps one to worker "
            f"{', '.join(map(str, sorted(idle)))}: it starts and answers nobody.",
            f"map-socket = {sockets[-1]}:{','.join(map(str, sorted(served[sockets[-1]] | idle)))}"
            ", or one more `socket =` line",
        )


@rule("harakiri-threads", option_docs("harakiri"))
def harakiri_threads(context: Context) -> Iterator[Finding]:
    """A worker has one harakiri timer (core/utils.c:1123). With threads, any request that ends clears it, so one that
    hangs may go unnoticed; and when it fires, the requests of all threads are lost."""
    option = context.settings.option("harakiri")
    threads = context.settings.positive("threads")
    if option and context.settings.number("harakiri") and threads > 1:
        yield context.finding(
            option,
            Level.WARNING,
            f"Each worker has {threads} threads and one harakiri timer: a request that ends clears it for one that "
            "hangs, and when it fires, the requests of all threads are lost.",
            "threads = 1 and more processes, or a time limit inside the application",
        )


@rule("py-call-osafterfork", option_docs("py-call-osafterfork"))
def py_call_osafterfork(context: Context) -> Iterator[Finding]:
    """On CPython 3.13 py-call-osafterfork crashes every worker as it starts, over and over (uWSGI issue 2710). With
    py-call-uwsgi-fork-hooks uWSGI does not make the call."""
    option = context.settings.option("py-call-osafterfork")
    if not option or not context.settings.is_on("py-call-osafterfork"):
        return
    if context.settings.is_on("py-call-uwsgi-fork-hooks"):
        return
    crashes = context.python >= (3, 13)
    yield context.finding(
        option,
        Level.ERROR if crashes else Level.NOTE,
        "On CPython 3.13 and newer each worker crashes as it starts, over and over"
        + ("." if crashes else f" (this is {'.'.join(map(str, context.python[:2]))})."),
        "py-call-uwsgi-fork-hooks = true",
    )
