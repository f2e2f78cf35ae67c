"""The picture of one or more runs as SVG: memory blue, requests red, the ends of workers above them."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from loadtest.load.live.recorder import Gap, Reading, Run

# The colours on a light page and on a dark one. The light ones are the experiment's (loadtest/results/plot.py).
LIGHT = {"memory": "#0077bb", "requests": "#cc3311", "ink": "#1b1f24", "muted": "#6a737d", "grid": "#e4e7eb"}
DARK = {"memory": "#5fb3e6", "requests": "#ff7b5c", "ink": "#e6e8eb", "muted": "#9aa3ad", "grid": "#3a3f46"}
KILLS = ("OOM kill", "oom", "died", "hung", "ceiling")
TOP, BOTTOM, LEFT, RIGHT = 46, 30, 56, 56
# The most points that are drawn of one curve.
MOST = 600


def _step(most: float) -> float:
    """A round distance for about four lines of the grid."""
    power: float = 10 ** math.floor(math.log10(max(most, 1) / 4))
    return next((factor * power for factor in (1.0, 2.0, 2.5, 5.0) if factor * power * 5 >= most), 10 * power)


def _pieces(run: Run) -> Iterator[list[Reading]]:
    """The readings between gaps."""
    piece: list[Reading] = []
    for row in run.readings:
        if isinstance(row, Gap):
            yield piece
            piece = []
        else:
            piece.append(row)
    yield piece


def _thin(piece: list[Reading], every: int) -> list[Reading]:
    """Of every `every` readings the one with the most memory, so that no peak is left out."""
    groups = (piece[at : at + every] for at in range(0, len(piece), every))
    return [max(group, key=lambda row: row.pss_mb) for group in groups]


def svg(runs: Sequence[Run], workers: bool = False, width: int = 900, dark: bool = False) -> str:
    """The picture. The last run is drawn strongly and the others thinly; `workers` adds a line for each worker."""
    colours, height = (DARK if dark else LIGHT), max(260, min(420, width // 2))
    shown = [row for run in runs for row in run.readings if isinstance(row, Reading)]
    long_s = max([10.0, *(run.until - run.started for run in runs)])
    limits = [row.limit_mb for row in shown[-1:] if row.limit_mb]
    highest = max((row.pss_mb for row in shown), default=0)
    # A limit far above what is used would press the curve to the ground.
    limit_mb = limits[0] if limits and limits[0] < 4 * max(highest, 1) else None
    most_mb = max(highest, limit_mb or 0, 10) * 1.05
    most_requests = max((row.requests for row in shown), default=0) * 1.05 or 10

    def x(t_s: float) -> float:
        return LEFT + t_s / long_s * (width - LEFT - RIGHT)

    def y(share: float) -> float:
        return height - BOTTOM - share * (height - TOP - BOTTOM)

    def text(at_x: float, at_y: float, words: str, colour: str, anchor: str = "start") -> str:
        place = f'x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}"'
        return f'<text {place} fill="{colours[colour]}">{escape(words)}</text>'

    def line(points: list[tuple[float, float]], colour: str, style: str, name: str) -> str:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        return f'<polyline class="{name}" points="{path}" fill="none" stroke="{colour}" {style}/>'

    drawn = []
    for value in _ticks(most_mb):
        at = y(value / most_mb)
        drawn.append(f'<path d="M{LEFT} {at:.1f}H{width - RIGHT}" stroke="{colours["grid"]}"/>')
        drawn.append(text(LEFT - 6, at + 4, f"{value:,g}", "memory", "end"))
    for value in _ticks(most_requests):
        drawn.append(text(width - RIGHT + 6, y(value / most_requests) + 4, f"{value:,g}", "requests"))
    for value in _ticks(long_s * 0.98):
        drawn.append(text(x(value), height - BOTTOM + 18, f"{value:g} s", "muted", "middle"))
    drawn.append(text(LEFT - 46, 16, "Memory (PSS, MiB)", "memory"))
    drawn.append(text(width - 10, 16, "Requests", "requests", "end"))
    if limit_mb:
        at = y(limit_mb / most_mb)
        drawn.append(f'<path class="limit" d="M{LEFT} {at:.1f}H{width - RIGHT}" stroke="{colours["ink"]}"/>')
        drawn.append(text(width - RIGHT - 4, at - 4, f"limit {limit_mb:,.0f}", "ink", "end"))
    for number, run in enumerate(runs):
        newest = number == len(runs) - 1
        style = 'stroke-width="2"' if newest else 'stroke-width="1.2" stroke-dasharray="5 3" opacity="0.75"'
        every = max(1, math.ceil(len(run.readings) / MOST))
        if newest and run.idle_mb:
            at = y(run.idle_mb / most_mb)
            dashes = 'stroke-dasharray="2 3"'
            drawn.append(
                f'<path class="ideal" d="M{LEFT} {at:.1f}H{width - RIGHT}" stroke="{colours["muted"]}" {dashes}/>'
            )
            # Below the line and at the end, where neither memory nor requests cross it.
            words = f"ideal: as before the run, {run.idle_mb:,.0f}"
            drawn.append(text(width - RIGHT - 4, at + 14, words, "muted", "end"))
        last: Reading | None = None
        for piece in _pieces(run):
            points = _thin(piece, every)
            times = [x(row.time - run.started) for row in points]
            requests = [(a, y(row.requests / most_requests)) for a, row in zip(times, points, strict=True)]
            drawn.append(line(requests, colours["requests"], style, "requests"))
            if workers and newest:
                for worker in sorted({name for row in points for name in row.workers}):
                    own = [
                        (a, y(row.workers[worker]["pss_mb"] / most_mb))
                        for a, row in zip(times, points, strict=True)
                        if worker in row.workers
                    ]
                    drawn.append(line(own, colours["memory"], 'stroke-width="0.8" opacity="0.6"', "worker"))
            memory = [(a, y(row.pss_mb / most_mb)) for a, row in zip(times, points, strict=True)]
            drawn.append(line(memory, colours["memory"], style, "memory"))
            last = points[-1] if points else last
        if last and len(runs) > 1:
            drawn.append(text(x(last.time - run.started) - 4, y(last.pss_mb / most_mb) - 6, run.label, "memory", "end"))
        drawn += _gaps(run, x, height, colours)
        if newest:
            for when, reason in run.marks[-300:]:
                kill = reason in KILLS
                at, colour = x(when - run.started), "#d0188a" if kill else colours["muted"]
                title = escape(reason if reason == "OOM kill" else f"worker ended: {reason}")
                shape = f"M{at - 4:.1f} 28l8 8m0 -8l-8 8" if kill else f"M{at - 3:.1f} 32a3 3 0 1 0 6 0a3 3 0 1 0 -6 0"
                fill = f'fill="none" stroke="{colour}" stroke-width="2"' if kill else f'fill="{colour}"'
                drawn.append(f'<path class="mark" d="{shape}" {fill}><title>{title}</title></path>')
    if not shown:
        drawn.append(text(width / 2, height / 2, "No figures yet: start a run.", "muted", "middle"))
    label = "Memory of the server and requests served, over time"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="system-ui, sans-serif" font-size="12">{"".join(drawn)}</svg>'
    )


def _gaps(run: Run, x: Callable[[float], float], height: int, colours: dict[str, str]) -> Iterator[str]:
    """Where there were no figures: a grey field that says why."""
    # A run that has just begun has no reading yet, and then the last end belongs to none.
    ends = [row.time for row in run.readings[1:]] + [run.until]
    for row, until in zip(run.readings, ends, strict=False):
        if isinstance(row, Gap):
            start, end = x(row.time - run.started), x(until - run.started)
            field = f'x="{start:.1f}" y="{TOP}" width="{max(end - start, 3):.1f}" height="{height - TOP - BOTTOM}"'
            title = f"<title>No figures: {escape(row.reason)}</title>"
            yield f'<rect class="gap" {field} fill="{colours["muted"]}" opacity="0.25">{title}</rect>'


def _ticks(most: float) -> list[float]:
    step = _step(most)
    return [step * number for number in range(1, int(most / step) + 1)]


def into_page(html: str, runs: Sequence[Run]) -> str:
    """Locust's report with the picture in it."""
    labels = escape(", ".join(run.label for run in runs))
    picture = (
        '<section id="lowtide-memory" style="background:#fff;color:#1b1f24;max-width:1200px;margin:auto;padding:24px">'
        f"<h2>Memory of the server: {labels}</h2>{svg(runs, width=1100)}</section>"
    )
    head, end, tail = html.rpartition("</body>")
    return f"{head}{picture}{end}{tail}" if end else html + picture
