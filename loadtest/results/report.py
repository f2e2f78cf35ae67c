"""Makes the picture, `report.html` and the table for the terminal from the files of an experiment.

`python -m loadtest.results.report DIRECTORY` makes them again. With `--markdown` it prints the tables for a page
instead. It exits with 2 when a file is missing or malformed.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console, Group
from rich.text import Text

from loadtest.results import files, plot, words
from loadtest.results.tables import Table
from loadtest.results.types import Options, ResultError, Results, Summary, Variant, ratio

TEMPLATES = Path(__file__).parent / "templates"


def write(directory: Path) -> None:
    """Write `memory.png`, `memory.svg` and `report.html` into a result directory. Raises ResultError."""
    results = files.read(directory)
    try:
        plot.write(results)
        (directory / "report.html").write_text(page(results), encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{error.filename or directory} cannot be written: {error.strerror}") from None


def page(results: Results) -> str:
    """The whole of `report.html`. It needs no other file; it only links to Locust's reports."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"number": words.number, "multiple": words.multiple, "ratio": ratio}
    summary = results.summary
    columns = alike(results.options)
    return jinja.get_template("report.html").render(
        summary=summary,
        words=words,
        picture=inline(plot.svg(results), "wide"),
        narrow_picture=inline(plot.svg(results, narrow=True), "narrow"),
        without=summary.variant("without"),
        differences=differences(columns),
        columns=list(columns),
        configured=list(results.options),
        locust_reports=locust_reports(results.directory, summary.variants),
    )


def inline(svg: str, prefix: str) -> Markup:
    """An SVG document as an element of a page: ids of its own, and the page's custom properties as colours."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<title>.*?</title>|<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
    for name, colour in plot.COLOURS.items():
        element = element.replace(colour, f"var(--{name})")
    return Markup(element)  # noqa: S704 - made by Matplotlib, which escapes the names in it


def alike(options: Mapping[str, Options]) -> dict[str, Options]:
    """The options, once for all variants that have the same, under the names of these variants."""
    groups: list[tuple[list[str], Options]] = []
    for name, of_variant in options.items():
        names = next((names for names, others in groups if others == of_variant), None)
        if names is None:
            groups.append(([name], of_variant))
        else:
            names.append(name)
    return {", ".join(names): of_variants for names, of_variants in groups}


def differences(options: Mapping[str, Options]) -> dict[str, list[list[str]]]:
    """The options whose values differ between columns: for each, a list of values for each column, in order."""
    keys = sorted({key for of_variant in options.values() for key in of_variant})
    rows = {key: [of_variant.get(key, []) for of_variant in options.values()] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def locust_reports(directory: Path, variants: list[Variant]) -> dict[str, str]:
    """Relative addresses of Locust's reports, by variant; only of files that are in the directory."""
    reports = {}
    for variant in variants:
        path = directory / (variant.locust_report or "")
        if variant.locust_report and path.is_file() and path.resolve().is_relative_to(directory.resolve()):
            reports[variant.name] = "./" + quote(variant.locust_report)
    return reports


def terminal(summary: Summary) -> Group:
    """A short table and the outcome in words, for 80 columns."""
    return Group(_table(summary).terminal(), Text(), *_paragraphs(summary))


def _table(summary: Summary) -> Table:
    """The table. To fit into 80 columns, it has `/ideal` in place of three others where variants are many."""
    caption = f"idle to end in MiB of {summary.memory}"
    if summary.rounds > 1:
        caption += f"; medians of {summary.rounds} rounds"
    many = len(summary.variants) > words.MANY
    columns: dict[str, Callable[[Variant], str]] = {
        "variant": lambda variant: variant.name,
        "idle": lambda variant: words.number(variant.idle_mb),
        "peak": lambda variant: words.number(variant.peak_mb),
        "mean": lambda variant: words.number(variant.mean_mb),
        "/ideal": lambda variant: words.multiple(ratio(variant.mean_mb, summary.floor_mb)),
        "end": lambda variant: words.number(variant.end_mb),
        "end/idle": lambda variant: words.multiple(variant.end_to_idle()),
        "p99 ms": lambda variant: _short_ms(variant.small_p99_ms),
        "due p99": lambda variant: _short_ms(variant.small_due_p99_ms),
        "failed": lambda variant: words.number(variant.failures),
        "OOM": lambda variant: words.number(variant.oom_kills),
        "recycled": lambda variant: words.number(variant.recycles.total()),
    }
    for heading in ("end/idle", "OOM", "recycled") if many else ("/ideal",):
        del columns[heading]
    rows = [[cell(variant) for cell in columns.values()] for variant in summary.variants]
    return Table(list(columns), rows, caption=caption)


def _short_ms(value: float | None) -> str:
    return words.number(value, int((value or 0) < 1000))


def _paragraphs(summary: Summary) -> list[Text]:
    told = summary.variants if len(summary.variants) <= words.MANY else []
    paragraphs = [Text.assemble((f"{variant.name}: ", "bold"), words.happened(variant)) for variant in told]
    colour = "green" if summary.verdict.holds else "red"
    headline = Text.assemble((f"{words.headline(summary)}. ", f"bold {colour}"), " ".join(words.verdict(summary)))
    return [
        *paragraphs,
        *([Text()] if told else []),
        headline,
        *(Text(f"- {failed}") for failed in words.failed_checks(summary)),
        *map(Text, words.settings(summary)),
        *map(Text, words.left_out(summary)),
    ]


def markdown(summary: Summary) -> str:
    """For a page: a table of memory, a table of latencies, and what they were measured with."""
    tables = (memory_table(summary), latency_table(summary))
    return "\n".join([*(f"{table.markdown()}\n" for table in tables), *words.measured_with(summary)])


def memory_table(summary: Summary) -> Table:
    """Memory of every variant, for a page."""
    table = Table(["", "what it is", "idle", "peak", "mean", "mean / ideal", "end", "replaced"], texts=2)
    for variant in summary.variants:
        row = [f"`{variant.name}`", (variant.label or "").rstrip(".")]
        row += [with_spread(variant, name) for name in ("idle_mb", "peak_mb", "mean_mb")]
        row += [words.multiple(ratio(variant.mean_mb, summary.floor_mb)), with_spread(variant, "end_mb")]
        table.rows.append([*row, words.number(variant.recycles.total())])
    return table


def latency_table(summary: Summary) -> Table:
    """What memory costs in latency, of every variant, for a page."""
    without = summary.variant("without")
    small = ["small p50", "p99", "/ without", "max", "due p50", "due p99", "due max"]
    table = Table(["", *small, "large p50", "/ without", "due p50", "late", "wall", "failed"])
    for variant in summary.variants:
        row = [f"`{variant.name}`", with_spread(variant, "small_p50_ms", 1), with_spread(variant, "small_p99_ms", 1)]
        row += [words.multiple(variant.over(without, "small_p99_ms")), with_spread(variant, "small_max_ms", 1)]
        row += [with_spread(variant, f"small_due_{name}_ms", 1) for name in ("p50", "p99", "max")]
        row += [with_spread(variant, "large_p50_ms"), words.multiple(variant.over(without, "large_p50_ms"))]
        row += [with_spread(variant, "large_due_p50_ms"), words.number(variant.pushed_back)]
        table.rows.append([*row, with_spread(variant, "wall_s", 1), words.number(variant.failures)])
    return table


def with_spread(variant: Variant, name: str, digits: int = 0) -> str:
    """A figure; after several rounds with the least and the most in brackets."""
    spread = variant.spread(name)
    told = f" ({words.number(spread[0], digits)} to {words.number(spread[1], digits)})" if spread else ""
    return words.number(getattr(variant, name), digits) + told


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.results.report", description="Make the report of a run again."
    )
    parser.add_argument("directory", type=Path, help="where summary.json and samples.csv are")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown and write nothing")
    options = parser.parse_args()
    directory = options.directory
    try:
        summary = files.read(directory).summary
        if options.markdown:
            print(markdown(summary))
            return 0
        write(directory)
        Console().print(terminal(summary))
    except ResultError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
