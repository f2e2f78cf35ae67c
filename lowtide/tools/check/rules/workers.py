"""Rules about workers: who replaces them, when, and how many at once."""

import re

from lowtide.tools.check.options import version_key
from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import ENDS, ERROR, MEMORY, NOTE, REQUESTS, WARNING, Context, Findings, rule, say

# Options that end a worker and rely on the master to start it again.
_ENDS_WORKERS = "max-requests max-worker-lifetime reload-on-rss reload-on-as harakiri"
_ENDS_WORKERS += " max-requests-delta max-worker-lifetime-delta"
_SOCKETS = "socket http-socket https-socket fastcgi-socket fastcgi-nph-socket scgi-socket raw-socket"


def _set(c: Context, *names: str) -> list[Option]:
    return [option for name in names if (option := c.option(name)) and c.number(name) != 0]


@rule("no-master", "Options.html#master", weight=ENDS)
def no_master(c: Context) -> Findings:
    """Only the master starts workers again. Without one, a worker that reaches max-requests or reload-on-rss, or that
    harakiri ends, is the end of the server; one of several that is killed stays a zombie and is never replaced."""
    if c.has_master() or not c.whole:
        return
    needing = _set(c, *_ENDS_WORKERS.split())
    several = c.option("processes")
    if needing:
        names = ", ".join(f"`{option.name}`" for option in needing)
        message = f"No master process starts a worker again or watches it, and {names} "
        message += f"count{'s' * (len(needing) == 1)} on it: the server ends with its workers."
        yield say(c, min(needing, key=lambda option: option.line), ERROR, message, "master = true")
    elif several and c.positive("processes") > 1:
        message = "No master process watches the workers: one that dies stays a zombie, and nobody replaces it."
        yield say(c, several, WARNING, message, "master = true")


@rule("min-worker-lifetime", "Options.html#min-worker-lifetime")
def min_worker_lifetime(c: Context) -> Findings:
    """max-requests and reload-on-rss spare every worker younger than min-worker-lifetime, 10 seconds unless set
    (core/utils.c:1192). A burst of large requests inflates all workers in less."""
    recycling = _set(c, "max-requests", "reload-on-rss", "reload-on-as")
    option, lifetime = c.option("min-worker-lifetime"), c.number("min-worker-lifetime")
    if not recycling or not lifetime:
        return
    message = " and ".join(f"`{limit.name}`" for limit in recycling)
    message += f" wait{'s' * (len(recycling) == 1)} until a worker is {lifetime} seconds old"
    message += f"{'' if option else ', the default'}. A younger one is never replaced, whatever it holds."
    level = WARNING if option and lifetime > 60 else NOTE
    yield say(c, option or recycling[-1], level, message, "min-worker-lifetime = 0")


@rule("recycle-together", "Options.html#max-requests-delta", weight=REQUESTS, servers="uwsgi gunicorn")
def recycle_together(c: Context) -> Findings:
    """Workers that start together reach the same limit together and are replaced together. While the new ones start,
    nobody serves; with lazy-apps or slow imports that is an outage. A delta gives each worker a limit of its own;
    gunicorn's is max_requests_jitter."""
    workers = c.positive("processes")
    # With cheaper only its number of workers start together; the others are started and stopped with the load.
    together = c.positive("cheaper-initial") or c.positive("cheaper") or workers
    for name in ("max-requests", "max-worker-lifetime") if workers > 1 and together > 1 else ():
        step, option, limit = f"{name}-delta", c.option(name), c.positive(name)
        since = c.table.names[step].since or ""
        served = c.reading.server != "uwsgi" or version_key(since) <= c.uwsgi
        if not option or not limit or (c.number(step) != 0 and served):
            continue
        lazy = c.is_on("lazy-apps") or c.is_on("lazy") or (c.reading.server == "gunicorn" and not c.option("preload"))
        count = f"All {workers} workers" if together == workers else f"The {together} workers that start together"
        message = f"{count} reach {limit} at about the same time and are replaced together"
        message += ", each importing the application anew." if lazy else "."
        instead = f"{c.spell(step)} = {max(limit // 10, 1)}"
        instead += "" if served else f" (needs uWSGI {since})"
        yield say(c, option, WARNING if together == workers else NOTE, message, instead)


@rule("lifetime-unbounded", options="max-worker-lifetime")
def lifetime_unbounded(c: Context, option: Option) -> Findings:
    """max-worker-lifetime asks a worker to stop and goes on waiting: worker-reload-mercy does not bound it
    (core/master_checks.c:254). A worker that hangs while it ends is lost for good, and with threads a worker past its
    lifetime waits for one more request, which harakiri and max-requests do not change (uWSGI issue 2320)."""
    threads = c.positive("threads") > 1
    bounded = c.positive("max-requests") and c.positive("harakiri") and not threads
    if c.number("max-worker-lifetime") and not bounded:
        message = "The master asks the worker once and then waits without end; worker-reload-mercy does not apply"
        message += ", and with threads the worker waits for one more request." if threads else "."
        instead = "Keep max-requests beside it, which mercy does bound, and harakiri for requests that hang."
        yield say(c, option, NOTE, message, instead)


@rule("host-processors", "Configuration.html#magic-variables", MEMORY, "uwsgi gunicorn", "processes cheaper threads")
def host_processors(c: Context, option: Option) -> Findings:
    """A number of workers that comes from the number of processors (`%k`, multiprocessing.cpu_count()) counts the
    host's, not the container's share of them, and not those of the machine that runs this check: a container with one
    processor and 1 GB may start 128 workers on a large host."""
    if "%k" in option.written or "cpu_count" in option.written or "nproc" in option.written:
        message = "The number follows the processors of the host, whatever the container may use of them, and is not "
        message += "known here."
        instead = f"{c.spell(option.name)} = a number that fits the container's memory; --processes for this check"
        yield say(c, option, WARNING if c.container.memory else NOTE, message, instead)


@rule("map-socket", weight=REQUESTS, options="map-socket")
def map_socket(c: Context, option: Option) -> Findings:
    """A worker that is mapped to no socket, or only to one that the file does not open, starts and answers nobody.
    Sockets are counted from 0 in the order of their lines, workers from 1."""
    lines, workers = c.all("map-socket"), c.positive("processes")
    pairs = [re.fullmatch(r"(\d+):([\d,]+)", line.value) for line in lines]
    if not workers or not all(pairs):
        return
    served = {int(pair[1]): {int(number) for number in pair[2].split(",") if number} for pair in pairs if pair}
    sockets = range(sum(len(c.all(name)) for name in _SOCKETS.split()))
    if not sockets or any(number not in served for number in sockets):
        return
    if idle := set(range(1, workers + 1)).difference(*(served.get(number, ()) for number in sockets)):
        message = f"The file opens {len(sockets)} socket{'s' * (len(sockets) != 1)}, and no line maps one to worker "
        message += f"{', '.join(map(str, sorted(idle)))}: it starts and answers nobody."
        instead = f"map-socket = {sockets[-1]}:{','.join(map(str, sorted(served[sockets[-1]] | idle)))}"
        yield say(c, lines[-1], ERROR, message, f"{instead}, or one more `socket =` line")


@rule("harakiri-threads", weight=REQUESTS, servers="uwsgi gunicorn", options="harakiri")
def harakiri_threads(c: Context, option: Option) -> Findings:
    """A worker has one harakiri timer (core/utils.c:1123). With threads, any request that ends clears it, so one that
    hangs may go unnoticed; and when it fires, the requests of all threads are lost. gunicorn's timeout, with threads or
    greenlets, asks whether the worker is alive, not whether a request is."""
    threads = c.positive("threads")
    if not c.number("harakiri") or threads < 2:
        return
    if c.reading.server == "gunicorn":
        message = f"With {threads} threads a worker whose request hangs is alive, and `timeout` ends nothing."
        yield say(c, option, NOTE, message, "a time limit inside the application, or at the proxy")
        return
    message = f"Each worker has {threads} threads and one harakiri timer: a request that ends clears it for one "
    message += "that hangs, and when it fires, the requests of all threads are lost."
    yield say(c, option, WARNING, message, "threads = 1 and more processes, or a time limit inside the application")


@rule("py-call-osafterfork", weight=ENDS, options="py-call-osafterfork")
def py_call_osafterfork(c: Context, option: Option) -> Findings:
    """On CPython 3.13 py-call-osafterfork crashes every worker as it starts, over and over (uWSGI issue 2710). With
    py-call-uwsgi-fork-hooks uWSGI does not make the call."""
    if not c.is_on("py-call-osafterfork") or c.is_on("py-call-uwsgi-fork-hooks"):
        return
    crashes = c.python >= (3, 13)
    message = "On CPython 3.13 and newer each worker crashes as it starts, over and over"
    message += "." if crashes else f" (this is {'.'.join(map(str, c.python[:2]))})."
    yield say(c, option, ERROR if crashes else NOTE, message, "py-call-uwsgi-fork-hooks = true", weight=crashes * ENDS)
