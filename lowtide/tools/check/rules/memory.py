"""Rules about memory: limits that never fire, fire too late, or fire for ever."""

from collections.abc import Iterator

from lowtide import sizing
from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.rules.base import Context, option_docs, rule

# RSS in MB. An idle worker of the sample application has 52 (docs/size.md); no smaller one fits below this either.
IDLE_WORKER_MB = 40
MIB = 2**20


@rule("memory-over-limit", option_docs("reload-on-rss"))
def memory_over_limit(context: Context) -> Iterator[Finding]:
    """reload-on-rss looks at one worker, the container's limit at all of them. When the workers together may reach the
    limit before one of them reaches reload-on-rss, the kernel kills first and the option never fires. It is read at the
    end of a request, so a worker may be far above it while one runs."""
    limit = context.container.memory
    option = context.settings.option("reload-on-rss")
    each = context.settings.positive("reload-on-rss")
    workers = context.settings.positive("processes")
    if not option or not limit or not each or not workers:
        return
    needed = sizing.unmeasured_bound(workers, each).total_mb
    if needed <= limit:
        return
    over = workers * each >= limit
    compared = "nearly" if not over else "more than" if workers * each > limit else "all of"
    yield context.finding(
        option,
        Level.ERROR if over else Level.WARNING,
        f"{workers} workers of {each} MB are {workers * each} MB, {compared} the container's "
        f"{limit:.0f} MB. "
        + (
            "The kernel kills a worker before one reaches reload-on-rss."
            if over
            else "Nothing is left for the master and for the request that takes a worker over the line."
        ),
        f"reload-on-rss = {sizing.highest_reload_on_rss(workers, limit)} (or fewer processes, or at least {needed:.0f} "
        "MB)",
    )


@rule("memory-limit-unknown", option_docs("reload-on-rss"))
def memory_limit_unknown(context: Context) -> Iterator[Finding]:
    """Whether reload-on-rss can ever fire depends on the container's limit, which this check was not told."""
    option = context.settings.option("reload-on-rss")
    if option and context.container.memory is None and context.settings.positive("reload-on-rss"):
        workers, each = context.settings.positive("processes"), context.settings.positive("reload-on-rss")
        yield context.finding(
            option,
            Level.NOTE,
            f"{workers} worker{'s' * (workers != 1)} of {each} MB may hold {workers * each} MB before the option "
            "fires; the container's limit is not known here.",
            "lowtide check --memory 1g, or --container docker-compose.yml",
        )


@rule("no-memory-recycling", option_docs("reload-on-rss"))
def no_memory_recycling(context: Context) -> Iterator[Finding]:
    """The container has a limit and no option looks at a worker's memory: a worker that has inflated keeps what it took
    until its requests or its lifetime are used up."""
    names = ("reload-on-rss", "evil-reload-on-rss", "reload-on-as", "evil-reload-on-as", "limit-as")
    if context.container.memory is None or any(context.settings.option(name) for name in names):
        return
    workers = max(context.settings.positive("processes"), 1)
    yield context.finding(
        None,
        Level.NOTE,
        f"The container has {context.container.memory:.0f} MB and no option looks at a worker's memory.",
        f"reload-on-rss = {sizing.highest_reload_on_rss(workers, context.container.memory)}",
    )


@rule("reload-on-rss-low", option_docs("reload-on-rss"))
def reload_on_rss_low(context: Context) -> Iterator[Finding]:
    """A limit below what an idle worker holds replaces every worker after every request, for ever. Pages shared with
    the master count in a worker's RSS."""
    option = context.settings.option("reload-on-rss")
    if option and 0 < context.settings.positive("reload-on-rss") <= IDLE_WORKER_MB:
        yield context.finding(
            option,
            Level.WARNING,
            f"An idle worker with a small Django application holds about {IDLE_WORKER_MB} MB, the pages it shares "
            "with the master included: every request would end in a new worker.",
            "Measure an idle worker's RSS and set two or three times that.",
        )


@rule("workers-only", option_docs("reload-on-rss"))
def workers_only(context: Context) -> Iterator[Finding]:
    """reload-on-rss and its kin look at workers, and at the end of a request: mules, spoolers and attached daemons are
    never replaced for their memory, nor is a worker for what a thread takes between requests."""
    limit = context.settings.option("reload-on-rss") or context.settings.option("evil-reload-on-rss")
    for name in ("mule", "mules", "spooler", "attach-daemon", "smart-attach-daemon"):
        option = context.settings.option(name)
        if limit and option:
            yield context.finding(
                option,
                Level.NOTE,
                f"{limit.name} does not look at this process, however much memory it takes.",
                "Count its memory when choosing the container's limit"
                + ("; spooler-max-tasks = 100 replaces it now and then." if name == "spooler" else "."),
            )
    option = context.settings.option("enable-threads")
    if context.settings.positive("reload-on-rss") and option and context.settings.is_on("enable-threads"):
        yield context.finding(
            option,
            Level.NOTE,
            "reload-on-rss is read at the end of a request: what a thread of the application takes between requests "
            "replaces nobody until the next one ends.",
            "evil-reload-on-rss as well, which looks every 3 seconds, where threads of the application take much.",
        )


@rule("evil-below-reload", option_docs("evil-reload-on-rss"))
def evil_below_reload(context: Context) -> Iterator[Finding]:
    """evil-reload-on-rss kills with SIGKILL, every 3 seconds, a request in flight included. Below reload-on-rss, or
    without it, it comes first instead of last."""
    option = context.settings.option("evil-reload-on-rss")
    evil, gentle = context.settings.positive("evil-reload-on-rss"), context.settings.number("reload-on-rss")
    if option and evil and gentle is not None and (gentle == 0 or evil <= gentle):
        yield context.finding(
            option,
            Level.WARNING,
            "The master kills a worker over this line in the middle of its request. "
            + (
                f"reload-on-rss, {gentle} MB, would come later."
                if gentle
                else "There is no reload-on-rss to come before."
            ),
            f"reload-on-rss = {max(evil // 2, 1)}",
        )


@rule("evil-over-limit", option_docs("evil-reload-on-rss"))
def evil_over_limit(context: Context) -> Iterator[Finding]:
    """evil-reload-on-rss is there to lose one worker instead of the container. Above the container's limit it
    cannot."""
    option = context.settings.option("evil-reload-on-rss")
    limit, evil = context.container.memory, context.settings.positive("evil-reload-on-rss")
    if option and limit and evil >= limit:
        yield context.finding(
            option,
            Level.ERROR,
            f"The container is killed at {limit:.0f} MB, before one worker reaches {evil} MB.",
            f"evil-reload-on-rss = {sizing.highest_reload_on_rss(1, limit)}",
        )


@rule("reload-on-as", option_docs("reload-on-as"))
def reload_on_as(context: Context) -> Iterator[Finding]:
    """Address space is what a worker has reserved, not what it uses: it hardly falls or rises with memory in use, and
    allocators reserve much more than they touch."""
    for name in ("reload-on-as", "evil-reload-on-as"):
        option = context.settings.option(name)
        if option and context.settings.positive(name):
            yield context.finding(
                option,
                Level.NOTE,
                "Address space says little about the memory that a container counts.",
                f"{name.replace('-as', '-rss')} = ...",
            )


@rule("post-buffering-kept", option_docs("post-buffering"))
def post_buffering_kept(context: Context) -> Iterator[Finding]:
    """post-buffering is also the size of a buffer that each thread of each worker has (core/uwsgi.c): what a large body
    filled once stays resident as long as the worker lives, and malloc_trim cannot return it. Bodies over it go to a
    file."""
    size = context.settings.positive("post-buffering")
    option = context.settings.option("post-buffering")
    buffers = context.settings.positive("processes") * context.settings.positive("threads")
    if option and buffers and size >= MIB:
        yield context.finding(
            option,
            Level.WARNING,
            f"Each of {buffers} buffers keeps up to {size / MIB:.0f} MB of the largest body that it has held.",
            "post-buffering = 8192: larger bodies go to a file. Behind nginx, which buffers them itself, no line.",
        )
