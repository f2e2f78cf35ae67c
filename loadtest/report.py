"""Make the outcome of an experiment from its files: the picture, `report.html` and the table for the terminal.

`python -m loadtest.report DIRECTORY` makes them again; it exits with 2 when a file is missing or malformed.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from loadtest import plot, summary_types, words
from loadtest.summary_types import Options, ResultError, Results, Summary, Variant, ratio

TEMPLATES = Path(__file__).parent / "templates"


def write(directory: Path) -> None:
    """Write `memory.png`, `memory.svg` and `report.html` into a result directory. Raises ResultError."""
    results = summary_types.read(directory)
    try:
        plot.write(results)
        (directory / "report.html").write_text(page(results), encoding="utf-8")
    except OSError as error:
        raise ResultError(f"{error.filename or directory} cannot be written: {error.strerror}") from None


def page(results: Results) -> str:
    """The whole of `report.html`, with nothing outside it but links to Locust's reports."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"number": words.number, "multiple": words.multiple, "ratio": ratio}
    summary = results.summary
    return jinja.get_template("report.html").render(
        summary=summary,
        words=words,
        picture=inline(plot.svg(results), "wide"),
        narrow_picture=inline(plot.svg(results, columns=1), "narrow"),
        differences=differences(results.options),
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


def differences(options: Mapping[str, Options]) -> dict[str, list[list[str]]]:
    """The options whose values differ between variants: for each, a list of values for each variant, in order."""
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


def terminal(summary: dict[str, Any]) -> Group:
    """A short table and the outcome in words, for 80 columns. Raises ResultError when a key is missing or wrong."""
    try:
        checked = msgspec.convert(summary, Summary)
    except msgspec.ValidationError as error:
        raise ResultError(f"summary: {error}") from None
    return Group(_table(checked), Text(), *_paragraphs(checked))


def _table(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, caption=f"idle to end in MiB of {summary.memory}", caption_justify="left")
    table.add_column("variant", overflow="fold")
    for heading in ("idle", "peak", "mean", "end", "end/idle", "p99 ms", "failed", "OOM", "recycled"):
        table.add_column(heading, justify="right")
    for variant in summary.variants:
        cells = (
            words.number(variant.idle_mb),
            words.number(variant.peak_mb),
            words.number(variant.mean_mb),
            words.number(variant.end_mb),
            words.multiple(variant.end_to_idle()),
            words.number(variant.small_p99_ms, 1),
            words.number(variant.failures),
            words.number(variant.oom_kills),
            words.number(variant.recycles.total()),
        )
        table.add_row(Text(variant.name), *cells)
    return table


def _paragraphs(summary: Summary) -> list[Text]:
    paragraphs = [Text.assemble((f"{variant.name}: ", "bold"), words.happened(variant)) for variant in summary.variants]
    colour = "green" if summary.verdict.holds else "red"
    headline = Text.assemble((f"{words.headline(summary)}. ", f"bold {colour}"), " ".join(words.verdict(summary)))
    return [*paragraphs, Text(), headline, *(Text(f"- {failed}") for failed in words.failed_checks(summary))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.report", description="Make the report of a run again.")
    parser.add_argument("directory", type=Path, help="where summary.json and samples.csv are")
    directory = parser.parse_args().directory
    try:
        write(directory)
        Console().print(terminal(msgspec.json.decode((directory / "summary.json").read_bytes())))
    except ResultError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
