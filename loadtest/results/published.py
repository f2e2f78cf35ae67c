"""The figures in README and docs: blocks that are made from the committed results in docs/results/.

A block stands between two comments of Markdown, of which the first names the result and the form:

    <!-- from docs/results/docker.json: headline -->
    ...
    <!-- end -->

So no figure can be older than its result: tests/loadtest/test_published.py makes each block again and compares.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from loadtest.results import files, forks, limit, sweep, words
from loadtest.results.report import latency_table, memory_table, with_spread
from loadtest.results.tables import Table
from loadtest.results.types import ResultError, Summary, Variant, ratio
from loadtest.results.verdict import CAME_BACK, INFLATED, ROSE

BLOCK = re.compile(
    r"(?P<head><!-- from docs/results/(?P<result>[\w-]+)\.json: (?P<form>\w+) -->\n).*?<!-- end -->", re.DOTALL
)
# README shows these rows and says in words what each is; docs/compare.md shows all rows.
NAMED = {
    "without": "`without` worker management",
    "article": "`article`, its four values",
    "lowtide": "`lowtide`, what this repository ships",
}


def headline(summary: Summary) -> str:
    """README's table, and below it what was measured, in sentences for somebody who reads nothing else."""
    figures = ("idle", "peak", "mean", "end")
    table = Table(["", *figures, "small requests p99, ms", "large p50, ms"])
    for variant in summary.variants:
        row = [NAMED.get(variant.name, f"`{variant.name}`"), *(with_spread(variant, f"{name}_mb") for name in figures)]
        table.rows.append([*row, with_spread(variant, "small_p99_ms", 1), with_spread(variant, "large_p50_ms")])
    requests = sum(single.requests for variant in summary.variants for single in variant.rounds or [variant])
    failed = sum(single.failures for variant in summary.variants for single in variant.rounds or [variant])
    rounds = "one round"
    if summary.rounds > 1:
        rounds = f"{summary.rounds} rounds, medians, with the least and the most in brackets"
    ideal = words.mib(summary.floor_mb)
    said = [
        f"An ideal server, which holds memory only while a request needs it, would have averaged {ideal}.",
        f"Of {requests:,} requests {'none' if failed == 0 else f'{failed:,}'} failed.",
        f"Measured in {rounds}, memory in MiB of {summary.memory}.",
        *words.measured_with(summary)[1:],
    ]
    return "\n".join([table.markdown(), "", *said])


def ratios(summary: Summary) -> str:
    """The figures that depend on the server and not on the machine."""
    without = summary.variant("without")
    table = Table(["", "mean / ideal", "peak / ideal", "end / idle", "p99 / without", "large p50 / without"])
    for variant in summary.variants:
        over = [
            ratio(variant.mean_mb, summary.floor_mb),
            ratio(variant.peak_mb, summary.floor_mb),
            variant.end_to_idle(),
        ]
        over += [variant.over(without, name) for name in ("small_p99_ms", "large_p50_ms")]
        table.rows.append([f"`{variant.name}`", *map(words.multiple, over)])
    return table.markdown()


# Figures of which less is better: the heading of each in the tables, its key in a result, and how many decimals it has.
COLUMNS = {
    "idle": ("idle_mb", 0),
    "peak": ("peak_mb", 0),
    "mean": ("mean_mb", 0),
    "end": ("end_mb", 0),
    "small p50": ("small_p50_ms", 1),
    "small p99": ("small_p99_ms", 1),
    "small max": ("small_max_ms", 1),
    "small due p50": ("small_due_p50_ms", 1),
    "small due p99": ("small_due_p99_ms", 1),
    "small due max": ("small_due_max_ms", 1),
    "large p50": ("large_p50_ms", 0),
    "large due p50": ("large_due_p50_ms", 0),
    "late": ("pushed_back", 0),
    "wall": ("wall_s", 1),
    "failed": ("failures", 0),
}
# The figures of `lowtide` that the form `against` divides by those of each other row.
AGAINST = ("mean", "end", "small p50", "small p99", "small due p99", "large p50")


def ours(summary: Summary) -> Variant:
    """The row of what this repository ships.

    Raises:
        ResultError: it was not measured.
    """
    lowtide = summary.variant("lowtide")
    if lowtide is None:
        raise ResultError("lowtide was not measured, so nothing can be compared with it")
    return lowtide


def beats(summary: Summary) -> str:
    """Which rows have a lower figure than `lowtide`, column by column.

    Raises:
        ResultError: `lowtide` was not measured.
    """
    lowtide = ours(summary)
    lines, unbeaten = [], []
    for column, (figure, digits) in COLUMNS.items():
        if getattr(lowtide, figure) is None:
            continue
        lower = lower_rows(summary, lowtide, figure, digits)
        if lower:
            lines.append(f"- {column}, `lowtide` {words.number(getattr(lowtide, figure), digits)}: {', '.join(lower)}.")
        else:
            unbeaten.append(column)
    said = []
    if unbeaten:
        said.append(f"No row is below `lowtide` in: {', '.join(unbeaten)}.")
    if lines:
        near = " (~ where the ranges of the rounds overlap)" if summary.rounds > 1 else ""
        said += [f"Rows with a lower figure than `lowtide`{near}:", "", *lines]
    return "\n".join(said)


def against(summary: Summary) -> str:
    """The figures of `lowtide` over those of each other row, round by round: the median ratio, the least and the most.

    Raises:
        ResultError: `lowtide` was not measured.
    """
    lowtide = ours(summary)
    table = Table(["`lowtide` over", *AGAINST])
    for other in summary.variants:
        if other is not lowtide:
            figures = [COLUMNS[column][0] for column in AGAINST]
            table.rows.append([f"`{other.name}`", *(ratios_in_words(lowtide, other, figure) for figure in figures)])
    return table.markdown()


def ratios_in_words(own: Variant, other: Variant, figure: str) -> str:
    """The ratio of a figure of two rows; after several rounds with the least and the most in brackets."""
    ratios_of_rounds = own.ratios_to(other, figure)
    median = words.multiple(own.over(other, figure))
    if len(ratios_of_rounds) < 2:
        return median
    return f"{median} ({words.number(min(ratios_of_rounds), 2)} to {words.number(max(ratios_of_rounds), 2)})"


def lower_rows(summary: Summary, lowtide: Variant, figure: str, digits: int) -> list[str]:
    """The rows whose figure, as it is shown, is below that of `lowtide`, the lowest first."""
    lower = []
    bound, spread = round(getattr(lowtide, figure), digits), lowtide.spread(figure)
    for variant in summary.variants:
        value = getattr(variant, figure)
        if value is None or round(value, digits) >= bound:
            continue
        own = variant.spread(figure)
        near = "~" if own and spread and own[1] >= spread[0] else ""
        lower.append((value, f"`{variant.name}` {near}{words.number(value, digits)}"))
    return [text for _, text in sorted(lower)]


def sources(summary: Summary) -> str:
    """Where the settings of each row come from that is not ours."""
    table = Table(["", "what it is", "its settings are from"], texts=3)
    for variant in summary.variants:
        if variant.source:
            links = ", ".join(f"[{urlsplit(address).netloc}]({address})" for address in variant.source.split())
            table.rows.append([f"`{variant.name}`", (variant.label or "").rstrip("."), links])
    return table.markdown()


# The picture in docs/images of each result; README shows the first.
PICTURES = {"docker": "memory.png", "local": "memory-local.png", "compare": "compare.png", "sweep": "sweep.png"}


def picture(summary: Summary, name: str) -> str:
    """The picture of a comparison, with what it shows in words for those who cannot see it."""
    groups: dict[str, list[str]] = {
        "comes back down": [],
        "stays high": [],
        "hardly rises": [],
        "comes back in part": [],
    }
    for variant in summary.variants:
        end, peak = variant.end_to_idle() or math.nan, ratio(variant.peak_mb, variant.idle_mb) or math.nan
        if max(peak, end) < ROSE:
            what = "hardly rises"
        elif end <= CAME_BACK:
            what = "comes back down"
        elif end >= INFLATED:
            what = "stays high"
        else:
            what = "comes back in part"
        groups[what].append(variant.name)
    said = "; ".join(f"it {what} in {', '.join(names)}" for what, names in groups.items() if names)
    return f"![Memory over time, one panel a row: {said}.](images/{PICTURES[name]})"


# What a block can show of the result of an experiment.
FORMS: dict[str, Callable[[Summary], str]] = {
    "headline": headline,
    "ratios": ratios,
    "memory": lambda summary: memory_table(summary).markdown(),
    "latency": lambda summary: latency_table(summary).markdown(),
    "beats": beats,
    "against": against,
    "sources": sources,
    "machine": lambda summary: "\n".join(words.measured_with(summary)),
}
# Each other result has one form, which has the result's name.
OTHERS: dict[str, Callable[[Path], str]] = {
    "sweep": lambda path: sweep.markdown(files.read_whole(path, sweep.Sweep)),
    "limit": lambda path: limit.table(files.read_whole(path, limit.Limit)).markdown(),
    "mixed": lambda path: limit.table(files.read_whole(path, limit.Limit)).markdown(),
    "forks": lambda path: forks.table(files.read_whole(path, forks.Forks)).markdown(),
}
NAMES = ("docker", "local", "compare", "giving", *OTHERS)


def block(path: Path, form: str) -> str:
    """A result as Markdown.

    Raises:
        ResultError: it cannot be read, or there is no such result or form.
    """
    if path.stem not in NAMES:
        raise ResultError(f"there is no result {path.stem}: {', '.join(NAMES)}")
    others = {name: make for name, make in OTHERS.items() if name == path.stem}
    if form not in (known := [*others] or [*FORMS, "picture"]):
        raise ResultError(f"{path.name} has no form {form}: {', '.join(known)}")
    if others:
        return others[form](path)
    summary = files.read_summary(path)
    return picture(summary, path.stem) if form == "picture" else FORMS[form](summary)


def filled(text: str, results: Path) -> str:
    """The page with each of its blocks made from the results in this folder.

    What stands in a block stays until its result is published for the first time.

    Raises:
        ResultError: a block names a result or a form that there is not, or has no end.
    """

    def made(named: "re.Match[str]") -> str:
        path = results / (named["result"] + ".json")
        if path.stem in NAMES and not path.exists():
            return named[0]
        return f"{named['head']}{block(path, named['form'])}\n<!-- end -->"

    if text.count("<!-- from docs/results/") != len(BLOCK.findall(text)):
        raise ResultError(
            "a block that begins with <!-- from docs/results/... --> has no <!-- end -->, or names no form"
        )
    return BLOCK.sub(made, text)
