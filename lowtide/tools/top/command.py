"""The command `lowtide top`."""

import argparse
import importlib.util
import json
import os
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowtide import application, counts, ledger, memory, sample
from lowtide.kinds import LARGE_MB
from lowtide.tools import page
from lowtide.tools import routes as judged

HELP = "say which requests take the memory of a running server"
DESCRIPTION = """The ledger of a running server, live: what the requests of each route took at their peak, and what its
workers hold.
Exit code 0: shown. 2: nothing can be read there."""
_EVERY_S = 1.0
KEYS = ("peak", "retained", "seconds", "count")


class Unreadable(Exception):
    """There is nothing to show; the message says why, in one line."""


@dataclass
class Table:
    """The figures to show. `unknown` says why peaks are not known, or is empty.

    `small` are the routes without what workers for large requests served; all routes where that is not known.
    """

    routes: list[dict[str, Any]]
    small: list[dict[str, Any]]
    workers: list[dict[str, Any]]
    unknown: str = ""

    def sort(self, key: str) -> None:
        name = {"peak": "peak_max_mb", "retained": "retained_mb"}.get(key, key)
        self.routes.sort(key=lambda route: -route[name])

    def document(self) -> dict[str, Any]:
        return {"schema": 1, "peaks_unknown": self.unknown, "routes": self.routes, "workers": self.workers}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    run_dir = os.environ.get("RUN_DIR", "var/run")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--stats", metavar="SOCKET", default=f"{run_dir}/stats.sock", help="uWSGI's stats socket (default: %(default)s)"
    )
    source.add_argument("--metrics", metavar="URL", help="lowtide.metrics instead, http://127.0.0.1:9117/metrics")
    parser.add_argument("--sort", choices=KEYS, default="peak", help="what comes first (default: peak)")
    parser.add_argument("--once", action="store_true", help="show it once and end")
    parser.add_argument("--routes", action="store_true", help="print the list of large routes for app/lowtide.toml")
    parser.add_argument(
        "--large-mb", type=float, default=LARGE_MB, metavar="MIB", help="from which peak a route is large"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="output (default: text)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    try:
        once = arguments.once or arguments.routes or arguments.format == "json" or not sys.stdout.isatty()
        if not once:
            return _live(arguments)
        table = _read(arguments)
    except Unreadable as problem:
        sys.stderr.write(f"lowtide top: {problem}\n")
        return 2
    if arguments.routes:
        try:
            listed = application.read().large if application.find() else ()
        except application.Invalid as problem:
            sys.stderr.write(f"lowtide top: {problem}\n")
            return 2
        sys.stdout.write(_large(table, listed, arguments.large_mb))
    elif arguments.format == "json":
        sys.stdout.write(json.dumps(table.document(), indent=2) + "\n")
    else:
        sys.stdout.write(_text(table))
    return 0


def _live(arguments: argparse.Namespace) -> int:
    try:
        if importlib.util.find_spec("rich") is None:
            while True:
                sys.stdout.write(f"\x1b[H\x1b[2J{_text(_read(arguments))}")
                sys.stdout.flush()
                time.sleep(_EVERY_S)
        from rich.live import Live
        from rich.text import Text

        with Live(auto_refresh=False, screen=True) as live:
            while True:
                live.update(Text(_text(_read(arguments))), refresh=True)
                time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        return 0


def _read(arguments: argparse.Namespace) -> Table:
    table = _from_metrics(arguments.metrics) if arguments.metrics else _from_files(Path(arguments.stats))
    table.sort(arguments.sort)
    return table


def _from_files(stats: Path) -> Table:
    """Read the figures from the stats socket and from the ledger beside it."""
    try:
        figures = sample.stats(str(stats))
    except (OSError, ValueError) as error:
        raise Unreadable(f"--stats {stats}: {error}: no uWSGI answers there") from None
    try:
        rows, unknown = ledger.read(stats.with_name("ledger"))
        small, _ = ledger.read(stats.with_name("ledger"), small=True)
    except FileNotFoundError:
        raise Unreadable(f"{stats.with_name('ledger')}: there is none: is LEDGER=0 set?") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{error}") from None
    try:
        reasons = dict(enumerate(counts.last_reasons(stats.with_name("counts")), 1))
    except (OSError, ValueError):
        reasons = {}
    workers = [_worker(worker, reasons.get(worker["id"], "")) for worker in figures["workers"] if worker["pid"] > 0]
    return Table([judged.figures(row) for row in rows], [judged.figures(row) for row in small], workers, unknown)


def _worker(figures: dict[str, Any], last_reason: str) -> dict[str, Any]:
    pid = figures["pid"]
    try:
        pss, rss = round(memory.pss_mb(pid), 1), round(memory.rss_mb(pid), 1)
    except OSError:
        # The worker has just ended, or runs in another container.
        pss = rss = 0.0
    age = round(time.time() - figures["last_spawn"])
    return {
        "worker": figures["id"],
        "pid": pid,
        "pss_mb": pss,
        "rss_mb": rss,
        "age_s": age,
        "requests": figures["requests"],
        "last_reason": last_reason,
    }


def _from_metrics(url: str) -> Table:
    if not url.startswith(("http://", "https://")):
        raise Unreadable(f"--metrics {url}: write http://HOST:PORT/metrics")
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            text = answer.read().decode()
    except OSError as error:
        raise Unreadable(f"--metrics {url}: {error}") from None
    names = {
        "requests_total": ("count", 1),
        "errors_total": ("errors", 1),
        "peak_p50_bytes": ("peak_p50_mb", memory.MIB),
        "peak_p99_bytes": ("peak_p99_mb", memory.MIB),
        "peak_max_bytes": ("peak_max_mb", memory.MIB),
        "retained_bytes": ("retained_mb", memory.MIB),
        "given_back_bytes_total": ("given_back_mb", memory.MIB),
        "seconds_total": ("seconds", 1),
    }
    routes: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        samples = page.samples(text)
    except page.NoPage as problem:
        raise Unreadable(f"--metrics {url}: {problem}") from None
    for line in samples:
        if figure := names.get(line.name.removeprefix("lowtide_route_")):
            key, unit = figure
            row = routes.setdefault((line.labels["method"], line.labels["route"]), dict(line.labels))
            row[key] = int(line.value) if unit == 1 and key != "seconds" else round(line.value / unit, 3)
    if not routes:
        raise Unreadable(f"--metrics {url}: no ledger in it: no request yet, or LEDGER=0")
    return Table(list(routes.values()), list(routes.values()), [])


def _text(table: Table) -> str:
    lines = [f"Peaks are not known: {table.unknown}."] if table.unknown else []
    lines.append("Memory in MiB above what the worker held before the request.")
    rows = [["method", "route", "requests", "peak p50", "p99", "max", "retained", "given back", "seconds"]]
    for route in table.routes:
        figures = (route[key] for key in ("peak_p50_mb", "peak_p99_mb", "peak_max_mb", "retained_mb", "given_back_mb"))
        shown = ["?" if table.unknown else f"{figure:.1f}" for figure in figures]
        rows.append([route["method"], route["route"], str(route["count"]), *shown, f"{route['seconds']:.1f}"])
    lines += _aligned(rows, left=2)
    if table.workers:
        names = ["worker", "pid", "pss_mb", "rss_mb", "age_s", "requests", "last_reason"]
        lines += ["", *_aligned([names, *([str(worker[name]) for name in names] for worker in table.workers)], left=0)]
    return "\n".join(lines) + "\n"


def _aligned(rows: list[list[str]], left: int) -> list[str]:
    """The rows as lines with aligned columns; the first `left` columns are aligned to the left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _large(table: Table, listed: Sequence[str], large_mb: float) -> str:
    """The line for app/lowtide.toml, and above it, as comments, why it differs from the list that is there."""
    verdict = judged.judge(listed, table.routes, table.small, large_mb)
    lines = [f"# {words}" for words in (*verdict.missing.values(), *verdict.needless.values())]
    patterns = [pattern for pattern in listed if pattern not in verdict.needless]
    return "\n".join([*lines, f"large = {json.dumps([*patterns, *verdict.missing])}"]) + "\n"
