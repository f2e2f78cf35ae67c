"""Plain sentences about a summary. Each is made by one function, and must be true whatever the outcome was."""

from loadtest.results.types import Check, Environment, Route, Summary, Variant, ratio
from loadtest.results.verdict import CAME_BACK, INFLATED, ROSE
from lowtide import sizing

# If there are more variants than this, the picture shows them small, and the terminal shows a table without sentences.
MANY = 6
SHOWN_ROUTES = 6

UNKNOWN = "not measured"
REASONS = {
    "requests": "on their number of requests",
    "rss": "on RSS",
    "lifetime": "on lifetime",
    "idle": "while idle",
    "signal": "on a signal",
    "ceiling": "for a request that outgrew its ceiling",
    "died": "by a sudden end",
}


def number(value: float | None, digits: int = 0) -> str:
    """A figure with thousands separated, or "-" where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def mib(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f} MiB"


def multiple(value: float | None) -> str:
    """A ratio, with two digits behind the point, and one from ten on."""
    return "-" if value is None else f"{value:,.{1 if value >= 10 else 2}f}"


def count(amount: int, one: str, many: str | None = None) -> str:
    """ "no worker", "1 worker", "12 workers"."""
    if amount == 0:
        return f"no {one}"
    return f"1 {one}" if amount == 1 else f"{amount:,} {many or one + 's'}"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def end_in_idles(variant: Variant, rounds: int = 1) -> str:
    """The title of a panel: "ends at 765 MiB, 10.1 times idle", after several rounds with "(median)" behind it."""
    end_to_idle = variant.end_to_idle()
    if end_to_idle is None:
        return "end or idle memory not measured"
    median = " (median)" if rounds > 1 else ""
    return f"ends at {mib(variant.end_mb)}, {multiple(end_to_idle)} times idle{median}"


def end_in_short(variant: Variant) -> str:
    """The title of a small panel: "765 MiB, 10.1 x idle"."""
    end_to_idle = variant.end_to_idle()
    return UNKNOWN if end_to_idle is None else f"{mib(variant.end_mb)}, {multiple(end_to_idle)} x idle"


def memory(variant: Variant) -> str:
    """Whether memory rose, and whether it came back."""
    idle, peak, end = variant.idle_mb, variant.peak_mb, variant.end_mb
    end_to_idle, peak_to_idle = variant.end_to_idle(), ratio(peak, idle)
    if end_to_idle is None or peak_to_idle is None:
        return sentence(f"memory: idle {mib(idle)}, peak {mib(peak)}, end {mib(end)}")
    at_end = f"{mib(end)} at the end, {multiple(end_to_idle)} times idle"
    if max(peak_to_idle, end_to_idle) < ROSE:
        return sentence(f"memory hardly rose: idle {mib(idle)}, peak {mib(peak)}, {at_end}")
    rise = f"memory rose from {mib(idle)} to {mib(peak)}"
    if end_to_idle <= CAME_BACK:
        return sentence(f"{rise} and came back down: {at_end}")
    if end_to_idle >= INFLATED:
        return sentence(f"{rise} and stayed high: {at_end}")
    return sentence(f"{rise} and did not come all the way back: {at_end}")


def large_routes(variant: Variant) -> list[Route]:
    """The routes to show in a report: those with the highest peaks, of at least 1 MiB."""
    return [route for route in variant.routes if route.peak_max_mb >= 1][:SHOWN_ROUTES]


def recycled(variant: Variant) -> str:
    """How many workers were replaced and why."""
    counts = {reason: getattr(variant.recycles, reason) for reason in REASONS}
    total = variant.recycles.total()
    if total is None:
        return "Whether workers were replaced was not measured."
    reasons = [f"{amount:,} {REASONS[reason]}" for reason, amount in counts.items() if amount]
    was = "was" if total <= 1 else "were"
    why = f": {', '.join(reasons)}" if reasons else ""
    return sentence(f"{count(total, 'worker')} {was} replaced{why}")


def losses(variant: Variant) -> str:
    """Failed requests and OOM kills."""
    failed = f"{count(variant.failures, 'request')} of {variant.requests:,} failed"
    if variant.failures == 0 and variant.oom_kills == 0:
        return "No request failed and nothing was killed for memory."
    if variant.oom_kills is None:
        return sentence(f"{failed}; OOM kills were not measured")
    if variant.oom_kills == 0:
        return sentence(f"{failed}; nothing was killed for memory")
    return sentence(f"{failed}; {count(variant.oom_kills, 'OOM kill')}")


def latency(variant: Variant) -> str:
    """Small requests at the median, the 99th percentile and the worst, from when they were sent and were due."""
    if variant.small_p50_ms is None or variant.small_p99_ms is None or variant.small_max_ms is None:
        return "The latency of small requests was not measured."
    figures = (variant.small_p50_ms, variant.small_p99_ms, variant.small_max_ms)
    p50, p99, worst = (number(figure, 1) for figure in figures)
    took = f"Small requests took {p50} ms at the median, {p99} ms at p99, {worst} ms at worst"
    from_due = (variant.small_due_p50_ms, variant.small_due_p99_ms, variant.small_due_max_ms)
    if variant.pushed_back is None or None in from_due:
        return f"{took}."
    p50, p99, worst = (number(figure, 1) for figure in from_due)
    late = count(variant.pushed_back, "request")
    was = "was" if variant.pushed_back <= 1 else "were"
    return f"{took}; from when they were due, {p50}, {p99} and {worst} ms. {sentence(f'{late} {was} pushed back')}"


def reasons(summary: Summary) -> list[str]:
    """The reasons a table needs a column for: the usual four, and the others where they occurred."""
    usual = ("requests", "rss", "lifetime", "died")
    occurred = {reason for reason in REASONS for variant in summary.variants if getattr(variant.recycles, reason)}
    return [reason for reason in REASONS if reason in usual or reason in occurred]


def failed_checks(summary: Summary) -> list[str]:
    return [failed_check(check) for check in summary.verdict.checks if not check.holds]


def settings(summary: Summary) -> list[str]:
    """What differs from the settings that ship, as one sentence; none where nothing does."""
    if not summary.settings:
        return []
    told = ", ".join(f"{name}={value}" for name, value in summary.settings.items())
    return [f"Measured with settings that differ from what ships: {told}."]


def left_out(summary: Summary) -> list[str]:
    """The variants that could not be measured, each with its reason."""
    return [f"{name} could not be measured and is left out: {reason}" for name, reason in summary.left_out.items()]


def happened(variant: Variant) -> str:
    """One variant in a few sentences."""
    return " ".join((memory(variant), recycled(variant), losses(variant), latency(variant)))


def limit(check: Check) -> str:
    """The limit, as "at least" or "at most". Where a check does not say which, its value tells."""
    at_least = check.at_least
    if check.limit is None:
        return "-"
    if at_least is None:
        if check.value is None or check.value == check.limit:
            return figure(check.limit)
        at_least = (check.value > check.limit) == check.holds
    return f"{'at least' if at_least else 'at most'} {figure(check.limit)}"


def figure(value: float | None) -> str:
    """A check's value, which may be a ratio or a count."""
    return "-" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:,.2f}"


def failed_check(check: Check) -> str:
    """Why a check does not hold."""
    if check.value is None:
        return f"{check.name}: {UNKNOWN}, so it cannot hold (limit {limit(check)})."
    return f"{check.name}: measured {figure(check.value)}, limit {limit(check)}."


def asks_inflation(summary: Summary) -> bool:
    """Whether the verdict asks that memory stays high in `without`."""
    return any(check.name.startswith("without: end") for check in summary.verdict.checks)


def headline(summary: Summary) -> str:
    """The outcome in one line. Where it is bad, the line says whether `without`, `lowtide` or another check failed."""
    lowtide = summary.variant("lowtide")
    cured = lowtide.end_to_idle() if lowtide else None
    peak = ratio(lowtide.peak_mb, lowtide.idle_mb) if lowtide else None
    good = "Memory came back down" if peak is not None and peak >= ROSE else "Memory stayed low"
    if not summary.verdict.checks:
        return "Measured, but nothing was judged"
    if summary.verdict.holds:
        return good if cured is not None and cured <= CAME_BACK else "Every check holds"
    if any(check.name.startswith("without: end") and not check.holds for check in summary.verdict.checks):
        return "The inflation was not reproduced"
    if cured is not None and cured > CAME_BACK:
        return "Memory did not come back down"
    return f"{good}, but a check failed" if cured is not None else "A check failed"


def verdict(summary: Summary) -> list[str]:
    """The sentences below the headline: the comparison, and how many checks hold. `failed_check` says which do not."""
    sentences = []
    without, lowtide = summary.variant("without"), summary.variant("lowtide")
    compared = [
        f"{variant.name} ended at {multiple(variant.end_to_idle())} times its idle memory"
        f" ({mib(variant.idle_mb)} idle, {mib(variant.peak_mb)} at its peak, {mib(variant.end_mb)} at the end)"
        for variant in (lowtide, without)
        if variant and variant.end_to_idle() is not None
    ]
    if compared:
        sentences.append(sentence("; ".join(compared)))
    checks = summary.verdict.checks
    if without and (end := without.end_to_idle()) is not None and end < INFLATED and not asks_inflation(summary):
        sentences.append("This load did not inflate the workers of without, so it shows little of what lowtide saves.")
    failed = [check for check in checks if not check.holds]
    if not checks:
        sentences.append("The verdict has no checks for these variants.")
    elif not failed:
        sentences.append("The only check holds." if len(checks) == 1 else f"All {len(checks)} checks hold.")
    elif len(checks) == 1:
        sentences.append("The only check does not hold.")
    else:
        does = "does" if len(failed) == 1 else "do"
        sentences.append(f"{len(failed)} of {len(checks)} checks {does} not hold.")
    return sentences


def servers(summary: Summary) -> list[str]:
    """Each server with its version, once."""
    named = [variant.server for variant in summary.variants if variant.server]
    return list(dict.fromkeys(named or [f"uWSGI {summary.environment.uwsgi}"]))


def processors(environment: Environment, machine: str | None) -> str:
    return count(environment.cpus or 0, "processor") + (f" ({machine})" if machine else "")


def machine(environment: Environment, name: str, runtime: str) -> str:
    """What uWSGI was measured with alone."""
    versions = f"Python {environment.python}, Django {environment.django}, uWSGI {environment.uwsgi}"
    return f"{versions}, {environment.libc}, {processors(environment, name)}, {runtime} runtime."


def measured_with(summary: Summary) -> list[str]:
    """What a table was measured with: units, load, machine and versions, in whole sentences."""
    load, environment = summary.load, summary.environment
    figures = (
        f"Memory in MiB of {summary.memory}, `small` and `large` in ms from when a request was sent, `due` from when it"
        " was due, `wall` in s. `late`: requests that were due while every user still waited for an answer."
    )
    if summary.rounds > 1:
        figures += (
            f" Medians of {summary.rounds} rounds, in brackets the least and the most; `/ without` pairs the runs of a"
            " round; of `failed` the worst round."
        )
    if summary.floor_mb is not None:
        figures += f" The ideal mean is {mib(summary.floor_mb)}."
    return [
        figures,
        f"{load.requests:,} requests, {load.large_requests:,} of them large (seed {load.seed}), {load.workers} workers"
        f" on {processors(environment, summary.machine)}, {summary.runtime} runtime.",
        *settings(summary),
        f"Python {environment.python}, Django {environment.django}, {environment.libc}, {', '.join(servers(summary))}.",
    ]


def next_steps(summary: Summary) -> list[str]:
    """What a reader can do now, from what was seen."""
    steps = []
    without, lowtide = summary.variant("without"), summary.variant("lowtide")
    inflated = without.end_to_idle() if without else None
    cured = lowtide.end_to_idle() if lowtide else None
    if inflated is not None and inflated < INFLATED:
        steps.append(
            "Without recycling, memory did not stay high enough for a comparison. Run the full load (not QUICK=1),"
            " or the one with larger requests: make loadtest SCENARIO=article."
        )
    if cured is not None and cured > CAME_BACK:
        steps.append(
            "Compare the marks in the picture with the moments memory rises. If workers inflate and none is replaced"
            " on RSS, reload-on-rss lies above what one worker reaches, or min-worker-lifetime holds it back. If all"
            " workers grow with their first requests and stay there, each has loaded by itself what those need: name"
            " the pages under [[preload]] in app/lowtide.toml, and workers share it."
        )
    failing = [variant.name for variant in summary.variants if variant.failures]
    if failing:
        steps.append(f"Requests failed in {', '.join(failing)}: Locust's report names them with their errors.")
    killed = [variant.name for variant in summary.variants if variant.oom_kills]
    if killed:
        steps.append(
            f"The memory limit was reached in {', '.join(killed)}: raise it, run fewer workers,"
            " or let fewer large requests run at once."
        )
    if summary.verdict.holds and summary.verdict.checks:
        steps.append(
            "Put your own requests into the scenario and run make loadtest again: how much memory stays depends on"
            " what the requests allocate."
        )
        steps.append(
            f"Size reload-on-rss in uwsgi.ini to your container: {sizing.RULE} must fit below its limit."
            " make size works it out."
        )
    missing = [name for name in ("without", "article", "lowtide") if summary.variant(name) is None]
    if missing and summary.runtime != "deployment":
        steps.append(f"This run left out {', '.join(missing)}: a bare make loadtest runs all three.")
    if len(summary.variants) <= MANY:
        steps.append("Compare with every other remedy, allocator and server: make compare.")
    if not summary.verdict.holds or summary.rounds == 1:
        steps.append(
            "Do not trust one run, a busy machine changes the figures: ROUNDS=5 make loadtest shows the spread."
        )
    return steps


def alternative(summary: Summary) -> str:
    """The picture in words, for those who cannot see it."""
    panels = " ".join(f"{variant.name}: {memory(variant)}" for variant in summary.variants)
    return f"Memory (blue) and cumulative requests (red) over time, one panel a variant. {panels}"
