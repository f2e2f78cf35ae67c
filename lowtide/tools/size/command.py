"""The command `lowtide size`."""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowtide.sizing import TooSmall, recommend
from lowtide.tools.size import output
from lowtide.tools.size.apply import apply
from lowtide.tools.size.sources import Figures, Unusable, from_pid, from_stats, from_summary
from lowtide.tools.sizes import docker_mb

HELP = "say which numbers keep a server below a memory limit, and why"
DESCRIPTION = """Say how many workers, which limits on their memory and which container limit a measured server needs.
Exit code 0: it fits. 1: the memory given cannot carry the load. 2: the input cannot be used."""

_LEAST_MB = 16
_MOST_WORKERS = 1000
_MOST_SECONDS = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments to its parser."""
    source = parser.add_argument_group("what was measured; given numbers win over measured ones")
    source.add_argument("summary", nargs="?", metavar="SUMMARY_JSON", help="results/latest/summary.json")
    source.add_argument("--variant", metavar="NAME", help="the variant in it (default: lowtide, else the first)")
    source.add_argument("--stats", metavar="SOCKET", help="stats socket of a live uWSGI, to watch")
    source.add_argument("--pid", metavar="MASTER", help="master process of any live pre-forking server, to watch")
    source.add_argument("--seconds", default="30", metavar="S", help="how long to watch (default: 30)")
    source.add_argument("--idle-mb", metavar="MIB", help="sum of PSS over master and workers at rest")
    source.add_argument("--worker-rss-mb", metavar="MIB", help="RSS of one idle worker")
    source.add_argument("--worker-private-mb", metavar="MIB", help="what one idle worker shares with nobody")
    source.add_argument("--large-mb", metavar="MIB", help="what the largest request adds at its peak")
    source.add_argument("--measured-workers", metavar="N", help="with how many workers idle memory was measured")
    wanted = parser.add_argument_group("what is wanted")
    wanted.add_argument("--memory", metavar="SIZE", help="the container's limit: 512m, 1g, 400Mi (default: the least)")
    wanted.add_argument("--workers", metavar="N", help="number of workers (default: as measured, or what fits)")
    wanted.add_argument("--large-workers", metavar="N", help="of them for large requests; 0 for one pool")
    parser.add_argument(
        "--for",
        dest="kinds",
        action="append",
        choices=[*output.SNIPPETS, "all"],
        help="the snippet to print; may be repeated (default: ini)",
    )
    parser.add_argument(
        "--apply", metavar="LOWTIDE_TOML", help="write the measured figures into this file, under [measured]"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text", help="output (default: text)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit code."""
    try:
        memory_mb = _memory(arguments.memory)
        workers = _count("--workers", arguments.workers, 1)
        large_workers = _count("--large-workers", arguments.large_workers, 0)
        figures = _figures(arguments, workers)
        load = figures.load()
        if arguments.apply:
            apply(load, Path(arguments.apply))
    except Unusable as problem:
        return _refuse(str(problem))
    wanted = (workers, large_workers)
    try:
        sizing = recommend(load, memory_mb, workers, large_workers)
    except TooSmall as problem:
        as_text = arguments.format == "text"
        make = output.too_small if as_text else output.as_json
        sys.stdout.write(make(figures, load, problem, wanted))
        return 1
    except ValueError as problem:
        return _refuse(f"{problem}: write a smaller --large-workers, or 0 for one pool")
    if arguments.format == "json":
        sys.stdout.write(output.as_json(figures, load, sizing, wanted))
    else:
        kinds = arguments.kinds or ["ini"]
        sys.stdout.write(output.text(figures, sizing, list(output.SNIPPETS) if "all" in kinds else kinds))
    return 0


def _refuse(problem: str) -> int:
    sys.stderr.write(f"lowtide size: {problem}\n")
    return 2


def _figures(arguments: argparse.Namespace, workers: int | None) -> Figures:
    given = [source for source in (arguments.summary, arguments.stats, arguments.pid) if source is not None]
    if len(given) > 1:
        raise Unusable(f"{' and '.join(given)}: name one source only")
    numbers: dict[str, Any] = {
        "idle_mb": _mib("--idle-mb", arguments.idle_mb),
        "worker_rss_mb": _mib("--worker-rss-mb", arguments.worker_rss_mb),
        "worker_private_mb": _mib("--worker-private-mb", arguments.worker_private_mb),
        "large_mb": _mib("--large-mb", arguments.large_mb),
        "workers": _count("--measured-workers", arguments.measured_workers, 1),
    }
    seconds = _number("--seconds", arguments.seconds)
    if not 0 < seconds <= _MOST_SECONDS:
        raise Unusable(f"--seconds {arguments.seconds}: write more than 0 and at most {_MOST_SECONDS}")
    if arguments.variant is not None and arguments.summary is None:
        raise Unusable("--variant needs a summary.json")
    if arguments.summary is not None:
        figures = from_summary(Path(arguments.summary), arguments.variant)
    elif arguments.stats is not None:
        figures = from_stats(arguments.stats, seconds)
    elif arguments.pid is not None:
        if not arguments.pid.isdecimal():
            raise Unusable(f"--pid {arguments.pid} is no process id")
        figures = from_pid(int(arguments.pid), seconds)
    else:
        # Without a source, the numbers describe the server that is to be sized.
        figures = Figures(workers=workers)
    figures = replace(figures, **{name: value for name, value in numbers.items() if value is not None})
    if figures.worker_rss_mb and figures.idle_mb and figures.worker_rss_mb > 2 * figures.idle_mb:
        raise Unusable(
            f"a worker's RSS of {figures.worker_rss_mb:g} MiB does not fit an idle server of "
            f"{figures.idle_mb:g}: PSS of master and workers belongs in --idle-mb"
        )
    return figures


def _number(option: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise Unusable(f"{option} {text} is no number")
    return value


def _mib(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    value = _number(option, text)
    if not 0 < value < 1e9:
        raise Unusable(f"{option} {text}: write MiB, more than 0")
    return value


def _count(option: str, text: str | None, least: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= _MOST_WORKERS:
        raise Unusable(f"{option} {text}: write a whole number from {least} to {_MOST_WORKERS}")
    return int(text)


def _memory(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = docker_mb(text)
    except ValueError as error:
        raise Unusable(f"--memory {error}") from None
    if not _LEAST_MB <= value < 1e9:
        raise Unusable(
            f"--memory {text} is {value:.4g} MiB, which no server fits: write 512m or 1g (without a letter it is bytes)"
        )
    return value
