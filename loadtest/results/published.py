"""The figures in README and docs: blocks that are made from the committed results in docs/results/.

A block stands between two comments of Markdown, of which the first names the result and the form:

    <!-- from docs/results/docker.json: headline -->
    ...
    <!-- end -->

So no figure can be older than its result: tests/loadtest/test_published.py makes each block again and compares.
"""

import re
from collections.abc import Callable
from pathlib import Path

from loadtest.results import files, words
from loadtest.results.report import latency_table, memory_table, with_spread
from loadtest.results.tables import Table
from loadtest.results.types import ResultError, Summary, ratio

BLOCK = re.compile(
    r"(?P<head><!-- from docs/results/(?P<result>[\w-]+)\.json: (?P<form>\w+) -->\n).*?<!-- end -->", re.DOTALL
)
# README shows what each of these does; docs/compare.md shows all.
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


FORMS: dict[str, Callable[[Summary], str]] = {
    "headline": headline,
    "ratios": ratios,
    "memory": lambda summary: memory_table(summary).markdown(),
    "latency": lambda summary: latency_table(summary).markdown(),
    "machine": lambda summary: "\n".join(words.measured_with(summary)),
}


def filled(text: str, results: Path) -> str:
    """The page with each of its blocks made from the results in this folder.

    Raises:
        ResultError: a block names a result or a form that there is not, or has no end.
    """

    def made(block: "re.Match[str]") -> str:
        if block["form"] not in FORMS:
            raise ResultError(f"{block['head'].strip()}: there is no form {block['form']}: {', '.join(FORMS)}")
        summary = files.read_summary(results / f"{block['result']}.json")
        return f"{block['head']}{FORMS[block['form']](summary)}\n<!-- end -->"

    if text.count("<!-- from docs/results/") != len(BLOCK.findall(text)):
        raise ResultError(
            "a block that begins with <!-- from docs/results/... --> has no <!-- end -->, or names no form"
        )
    return BLOCK.sub(made, text)
