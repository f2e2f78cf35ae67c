"""The command `lowtide top`."""

import argparse
import importlib.util
import json
import os
import re
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowtide import ledger, memory, sample

HELP = "say which requests take the memory of a running server"
DESCRIPTION = """The ledger of a running server, live: what the requests of each route took at their peak, and what its
workers hold.
Exit code 0: shown. 2: nothing can be read there."""
_EVERY_S = 1.0
KEYS = ("peak", "retained", "seconds", "count")
# MiB. A route whose peak is at least this belongs to the workers for large requests.
LARGE_MB = 32.0
_SAMPLE = re.compile(r'^lowtide_route_(\w+)\{method="([^"]*)",route="((?:[^"\\]|\\.)*)"\} (\S+)$', re.MULTILINE)


class Unreadable(Exception):
    """There is nothing to show; the message says why, in one line."""


@dataclass
class Table:
    """The figures to show. `unknown` says why peaks are not known, or is empty."""

    routes: list[dict[str, Any]]
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
        sys.stdout.write(_large(table, arguments.large_mb))
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
    except FileNotFoundError:
        raise Unreadable(f"{stats.with_name('ledger')}: there is none: is LEDGER=0 set?") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{error}") from None
    routes = [
        {
            "route": row.route,
            "method": row.method,
            "count": row.count,
            "errors": row.errors,
            "peak_p50_mb": round(row.peak_mb(0.5), 1),
            "peak_p99_mb": round(row.peak_mb(0.99), 1),
            "peak_max_mb": round(row.peak_max_mb, 1),
            "retained_mb": round(row.retained_mb, 1),
            "given_back_mb": round(row.given_back_mb, 1),
            "seconds": round(row.seconds, 3),
        }
        for row in rows
    ]
    return Table(routes, [_worker(worker) for worker in figures["workers"] if worker["pid"] > 0], unknown)


def _worker(figures: dict[str, Any]) -> dict[str, Any]:
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
    for name, method, label, value in _SAMPLE.findall(text):
        if name in names:
            key, unit = names[name]
            route = label.replace('\\"', '"').replace("\\\\", "\\")
            row = routes.setdefault((method, route), {"route": route, "method": method})
            row[key] = int(float(value)) if unit == 1 and key != "seconds" else round(float(value) / unit, 3)
    if not routes:
        raise Unreadable(f"--metrics {url}: no ledger in it: no request yet, or LEDGER=0")
    return Table(list(routes.values()), [])


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
        names = ["worker", "pid", "pss_mb", "rss_mb", "age_s", "requests"]
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


def _large(table: Table, large_mb: float) -> str:
    """The line for app/lowtide.toml, with the figures as comments above it."""
    large = [route for route in table.routes if route["peak_p99_mb"] >= large_mb and route["route"].startswith("/")]
    lines = [
        f"# {route['method']} {route['route']}: {route['count']} requests, peak p50 {route['peak_p50_mb']:.0f} MiB, "
        f"max {route['peak_max_mb']:.0f}"
        for route in large
    ]
    patterns = dict.fromkeys(_pattern(route["route"]) for route in large)
    return "\n".join([*lines, f"large = {json.dumps(list(patterns))}"]) + "\n"


def _pattern(route: str) -> str:
    """The path of a route as a pattern: its fixed beginning, and a star if a variable part follows."""
    fixed = re.split(r"[{<(\[\\*]", route.removeprefix("/^") if route.startswith("/^") else route, maxsplit=1)[0]
    fixed = fixed if fixed.startswith("/") else f"/{fixed}"
    return route if fixed == route else f"{fixed}*"
