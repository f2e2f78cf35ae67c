"""Rules about memory: limits that never fire, fire too late, or fire for ever."""

from lowtide import sizing
from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import ALL, ERROR, MEMORY, NOTE, WARNING, Context, Findings, rule, say
from lowtide.tools.check.rules.plain import IDLE_WORKER_MB

MIB = 2**20


def _fits(c: Context, workers: int) -> int:
    return sizing.highest_reload_on_rss(workers, c.container.memory or 0)


def _room(c: Context, workers: int) -> str:
    """The reload-on-rss that fits into the container; if it is below an idle worker, how many workers fit."""
    fits = _fits(c, max(workers, 1))
    if fits > 2 * IDLE_WORKER_MB or workers < 2:
        return f"{c.spell('reload-on-rss')} = {fits}"
    # More than the limit holds of idle workers never fit, so a number of workers with ten digits is not counted down.
    most = min(workers, int((c.container.memory or 0) // IDLE_WORKER_MB) + 1)
    fewer = next(n for n in range(most, 0, -1) if n == 1 or _fits(c, n) > 2 * IDLE_WORKER_MB)
    return f"{c.spell('processes')} = {fewer}, and {c.spell('reload-on-rss')} = {_fits(c, fewer)}"


@rule("memory-over-limit", weight=MEMORY, servers="uwsgi granian", options="reload-on-rss")
def memory_over_limit(c: Context, option: Option) -> Findings:
    """reload-on-rss looks at one worker, the container's limit at all of them. When the workers together may reach the
    limit before one of them reaches reload-on-rss, the kernel kills first and the option never fires. It is read at the
    end of a request, so a worker may be far above it while one runs. granian starts a worker's successor before it
    stops the old one, so one more counts there."""
    limit, size, count = c.container.memory, c.positive("reload-on-rss"), c.positive("processes")
    workers = count + (c.reading.server == "granian")
    if not (limit and size and count) or (needed := sizing.unmeasured_bound(workers, size).total_mb) <= limit:
        return
    over = workers * size >= limit
    compared = "nearly" if not over else "more than" if workers * size > limit else "all of"
    message = f"{workers} workers of {size} MB are {workers * size} MB, {compared} the container's {limit:.0f} MB. "
    message += "One of them is a successor that starts before its worker ends. " if workers > count else ""
    message += (
        f"When all of them grow, the kernel kills one before it reaches {c.spell('reload-on-rss')}."
        if over
        else "Nothing is left for the master and for the request that takes a worker over the line."
    )
    instead = f"{_room(c, workers)} (or fewer processes, or at least {needed:.0f} MB)"
    yield say(c, option, ERROR if over else WARNING, message, instead)


@rule("memory-limit-unknown", servers="uwsgi granian", options="reload-on-rss")
def memory_limit_unknown(c: Context, option: Option) -> Findings:
    """Whether reload-on-rss can ever fire depends on the container's limit, which this check was not told."""
    workers, size = c.positive("processes"), c.positive("reload-on-rss")
    if c.container.memory is None and size:
        count = f"{workers} worker{'s' * (workers != 1)} of {size} MB may hold {workers * size} MB"
        message = count if workers else f"Each worker may hold {size} MB"
        message += " before the option fires; the container's limit is not known here."
        yield say(c, option, NOTE, message, "lowtide check --memory 1g, or --container docker-compose.yml")


@rule("no-memory-recycling", "Options.html#reload-on-rss", servers=ALL)
def no_memory_recycling(c: Context) -> Findings:
    """The container has a limit and no option looks at a worker's memory: a worker that has inflated keeps what it took
    until its requests or its lifetime are used up. limit-as is no recycling: it makes an allocation fail. gunicorn has
    no such option at all."""
    names = ("reload-on-rss", "evil-reload-on-rss", "reload-on-as", "evil-reload-on-as")
    if c.container.memory is None or c.any(*names) or not c.whole:
        return
    message = f"The container has {c.container.memory:.0f} MB and no option looks at a worker's memory."
    instead = _room(c, c.positive("processes"))
    if c.reading.server == "gunicorn":
        instead = "max_requests and max_requests_jitter; lowtide.gunicorn.give_back returns it between requests"
    yield say(c, None, NOTE, message, instead)


@rule("workers-only", "Options.html#reload-on-rss")
def workers_only(c: Context) -> Findings:
    """reload-on-rss and its kin look at workers, and at the end of a request: mules, spoolers and attached daemons are
    never replaced for their memory, nor is a worker for what a thread takes between requests (enable-threads before
    2.0.28, always from then on)."""
    limit = c.any("reload-on-rss", "evil-reload-on-rss")
    for name in ("mule", "mules", "spooler", "attach-daemon", "smart-attach-daemon"):
        option = c.option(name)
        if limit and option:
            message = f"{limit.name} does not look at this process, however much memory it takes."
            more = "; spooler-max-tasks = 100 replaces it now and then." if name == "spooler" else "."
            yield say(c, option, NOTE, message, f"Count its memory when choosing the container's limit{more}")
    if c.positive("reload-on-rss") and c.is_on("enable-threads") and c.uwsgi < (2, 0, 28):
        message = "reload-on-rss is read at the end of a request: what a thread of the application takes between "
        message += "requests replaces nobody until the next one ends."
        instead = "evil-reload-on-rss as well, which looks every 3 seconds, where threads of the application take "
        yield say(c, c.option("enable-threads"), NOTE, message, f"{instead}much.")


@rule("reload-on-as", options="reload-on-as evil-reload-on-as")
def reload_on_as(c: Context, option: Option) -> Findings:
    """Address space is what a worker has reserved, not what it uses: it hardly falls or rises with memory in use, and
    allocators reserve much more than they touch."""
    if c.positive(option.name):
        message = "Address space says little about the memory that a container counts."
        size = _room(c, c.positive("processes")).partition("reload-on-rss = ")[2] if c.container.memory else "..."
        yield say(c, option, NOTE, message, f"{option.name.replace('-as', '-rss')} = {size}")


@rule("post-buffering-kept", weight=MEMORY, options="post-buffering")
def post_buffering_kept(c: Context, option: Option) -> Findings:
    """post-buffering is also the size of a buffer that each thread or greenlet of each worker has (core/uwsgi.c): what
    a large body filled once stays resident as long as the worker lives, and malloc_trim cannot return it. Bodies over
    it go to a file; a very small value sends every body there."""
    size, buffers = c.positive("post-buffering"), c.positive("processes") * c.cores
    instead = "post-buffering = 8192: larger bodies go to a file. Behind nginx, which buffers them itself, no line."
    if buffers and size >= MIB:
        message = f"Each of {buffers} buffers keeps up to {size / MIB:.0f} MB of the largest body that it has held."
        yield say(c, option, WARNING, message, instead)
    elif 0 < size < 512:
        message = f"Every body of {size} byte{'s' * (size != 1)} or more is written to a file on disk first."
        yield say(c, option, WARNING, message, instead)


@rule("no-max-fd", "Options.html#max-fd")
def no_max_fd(c: Context) -> Findings:
    """uWSGI's routers and its async mode set memory aside for every descriptor that they may open, 8 bytes each for
    every table, and each fork closes them one by one. Container hosts often allow a thousand million: 8.6 GB a table
    at 2^30, and slow forks (uWSGI issue 2299)."""
    nofile = c.container.nofile
    if c.option("max-fd") or not c.whole or (nofile and nofile <= MIB):
        return
    routers = ("http", "https", "http2", "fastrouter", "rawrouter", "sslrouter")
    router = c.any(*routers) if c.container.memory else None
    told = f" (here {nofile}, {8 * nofile / 1e9:.1f} GB a table)" if nofile else ""
    message = "`max-fd` is not set: uWSGI prepares for every descriptor that the host allows, on some a thousand "
    message += f"million{told}."
    if router:
        message += f" `{router.name}` takes 8 bytes for each: 8.6 GB at 2^30, and the container has "
        message += f"{c.container.memory:.0f} MB."
    yield say(c, None, WARNING if router else NOTE, message, "max-fd = 4096", weight=MEMORY if router else 0)
