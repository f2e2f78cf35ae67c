"""Compares the list of large paths in the application's description with what the ledger says of the routes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lowtide import ledger
from lowtide.kinds import LARGE_MB

# A listed path is needless when its requests stay below these: MiB at the peak of 99 in 100, and seconds on average.
# Fewer requests than FEW do not show that.
_SMALL_MB, _SHORT_S, _FEW = 8.0, 0.5, 20


@dataclass(frozen=True)
class Verdict:
    """What the list should get and lose, each pattern with the evidence in words."""

    missing: dict[str, str]
    needless: dict[str, str]


def figures(row: ledger.Route) -> dict[str, Any]:
    """One row of the ledger as `lowtide top --format json` has it."""
    return {
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


def pattern(route: str) -> str:
    """The path of a route as a pattern: its fixed beginning, and a star if a variable part follows."""
    fixed = re.split(r"[{<(\[\\*]", route.removeprefix("/^") if route.startswith("/^") else route, maxsplit=1)[0]
    fixed = fixed if fixed.startswith("/") else f"/{fixed}"
    return route if fixed == route else f"{fixed}*"


def _covers(listed: str, path: str) -> bool:
    """Whether the entry `listed` names every path of the pattern `path`."""
    return path.startswith(listed.removesuffix("*")) if listed.endswith("*") else path == listed


def judge(
    listed: Sequence[str], routes: Sequence[dict[str, Any]], small: Sequence[dict[str, Any]], large_mb: float = LARGE_MB
) -> Verdict:
    """Compare the list with the ledger.

    Args:
        routes: the figures of all workers.
        small: the figures of the workers for small requests. A route whose requests are large by their bodies does not
            appear there with a large peak, and needs no entry.
    """
    missing: dict[str, list[str]] = {}
    for row in small:
        path = pattern(row["route"])
        # A route that is no path is that of no application, such as "(not found)".
        named = row["route"].startswith("/") and any(_covers(entry, path) for entry in listed)
        if row["route"].startswith("/") and not named and row["peak_p99_mb"] >= large_mb:
            missing.setdefault(path, []).append(_words(row))
    needless = {}
    for entry in listed:
        rows = [row for row in routes if _covers(entry, pattern(row["route"]))]
        count = sum(row["count"] for row in rows)
        slow = sum(row["seconds"] for row in rows) >= _SHORT_S * count
        if count >= _FEW and not slow and all(row["peak_p99_mb"] < _SMALL_MB for row in rows):
            needless[entry] = f"{entry} is listed, and not large: {'; '.join(map(_words, rows))}"
    return Verdict({path: f"{path} is missing: {'; '.join(words)}" for path, words in missing.items()}, needless)


def _words(row: dict[str, Any]) -> str:
    """The evidence: "GET /take/{id}/: 200 requests, peak p50 30 MiB, max 55"."""
    return (
        f"{row['method']} {row['route']}: {row['count']} requests, peak p50 {row['peak_p50_mb']:.0f} MiB, "
        f"max {row['peak_max_mb']:.0f}"
    )
