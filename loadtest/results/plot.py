"""The picture of an experiment: memory in blue and cumulative requests in red, a panel a variant, shared axes.

Matplotlib is imported where something is drawn, because it takes longer to load than all the rest of a command, and
many commands end without a picture.
"""

from __future__ import annotations

import io
import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from loadtest.results import words
from loadtest.results.types import Event, Results, Sample, Summary, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colour-blind readers can tell Paul Tol's "vibrant" blue and red apart. No two names have the same value, so that a
# page can replace each value in the SVG by a custom property of its own.
COLOURS = {
    "memory": "#0077bb",
    "requests": "#cc3311",
    "working-set": "#5fb3e6",
    "floor": "#00806f",
    "mark": "#3d4450",
    "kill": "#b0116a",
    "ink": "#1b1f24",
    "muted": "#6a737d",
    "grid": "#e4e7eb",
    "quiet": "#f1f3f5",
    "paper": "#ffffff",
}
IDLE: dict[str, Any] = {"color": COLOURS["muted"], "linewidth": 0.9, "dashes": (5, 3)}
FLOOR: dict[str, Any] = {"color": COLOURS["floor"], "linewidth": 1.0, "dashes": (1.5, 1.5)}
# Each of these that happened gets a row of marks above the curves, in this order.
MARKS = {
    "requests": ("^", "mark", "recycled: requests"),
    "rss": ("o", "mark", "recycled: RSS"),
    "lifetime": ("s", "mark", "recycled: lifetime"),
    "idle": ("v", "mark", "recycled: idle"),
    "signal": ("d", "mark", "stopped by a signal"),
    "ceiling": ("p", "kill", "request over its ceiling"),
    "died": ("x", "kill", "worker died"),
    "hung": ("P", "kill", "worker hung"),
    "oom": ("X", "kill", "OOM kill"),
    "fault": ("*", "ink", "fault of `make soak`"),
}
LANE = 0.055
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib
    "font.size": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "lowtide",
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": COLOURS["paper"],
    "figure.facecolor": COLOURS["paper"],
    "axes.linewidth": 0.6,
    "xtick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "text.parse_math": False,
}


def styled() -> AbstractContextManager[None]:
    """In this context pictures have our fonts and colours, whatever the machine's own configuration says."""
    import matplotlib

    return matplotlib.rc_context(STYLE)


def write(results: Results) -> None:
    """Write `memory.png` (1800 px wide, to be shown at 900) and `memory.svg` into the result directory."""
    with styled():
        picture = figure(results)
        picture.savefig(results.directory / "memory.png", dpi=200, metadata={"Software": None})
    (results.directory / "memory.svg").write_text(svg(results), encoding="utf-8")


def svg(results: Results, narrow: bool = False) -> str:
    """The picture as SVG, the same text for the same results. `narrow` as for `figure`."""
    with styled():
        text = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Title": "Memory and cumulative requests over time"}
        figure(results, narrow).savefig(text, format="svg", metadata=metadata)
    return text.getvalue()


def figure(results: Results, narrow: bool = False) -> Figure:
    """Draw all variants in a grid. Up to three stand side by side, so that heights compare; many are drawn small.

    `narrow` is for a phone.
    """
    from matplotlib.figure import Figure

    variants = results.summary.variants
    many = len(variants) > words.MANY
    wide = 4 if many else 2 if len(variants) == 4 else min(3, len(variants))
    columns = (2 if many else 1) if narrow else wide
    rows = math.ceil(len(variants) / columns)
    width = 3.7 if narrow and len(variants) > 1 else 9.0
    height = 1.15 + rows * (1.6 if many else 3.0 if rows == 1 else 2.1)
    with styled():
        picture = Figure(figsize=(width, height), layout="constrained")
        grid = picture.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        lanes = [name for name in MARKS if any(_marks(events, name) for events in results.events.values())]
        rights = []
        for index, variant in enumerate(variants):
            axes = grid.flat[index]
            rights.append(_panel(axes, results, variant, lanes, f"panel-{index}"))
            _label(axes, rights[-1], index, columns, results.summary)
        for spare in grid.flat[len(variants) :]:
            spare.set_axis_off()
        _limits(grid.flat[0], rights, results, len(lanes))
        title = ("Server memory (MiB)", "and requests served, over time (s)")
        picture.suptitle(("\n" if width < 5 else " ").join(title), fontsize=10)
        _legend(picture, results, lanes, 2 if width < 5 else 5)
    return picture


def _label(axes: Axes, right: Axes, index: int, columns: int, summary: Summary) -> None:
    """Put axis labels and ticks on the outer panels only."""
    variants = len(summary.variants)
    if index % columns == 0:
        label = f"Memory ({summary.memory}, MiB)" if variants <= words.MANY else f"{summary.memory}, MiB"
        axes.set_ylabel(label, color=COLOURS["memory"])
    else:
        axes.tick_params(axis="y", length=0)
    if index % columns == columns - 1 or index == variants - 1:
        right.set_ylabel("Cumulative requests" if variants <= words.MANY else "requests", color=COLOURS["requests"])
    else:
        right.tick_params(labelright=False, length=0)
    if index + columns >= variants:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("Time since the load began (s)" if variants <= words.MANY else "s since the load began")
    if index == variants - 1 and variants % columns:
        right.set_in_layout(False)  # it has the empty cell beside it to write into


def _panel(axes: Axes, results: Results, variant: Variant, lanes: list[str], gid: str) -> Axes:
    """Draw one variant; returns the axes of the requests, on the right."""
    samples, events = results.samples[variant.name], results.events[variant.name]
    times = [sample.t_s for sample in samples]
    many = len(results.summary.variants) > words.MANY
    axes.set_title(f"{_short(variant.name)}\n", fontsize=8.5 if many else 10, fontweight="bold", loc="left", pad=1)
    ends = words.end_in_short(variant) if many else words.end_in_idles(variant, results.summary.rounds)
    axes.text(0, 1.025, ends, transform=axes.transAxes, color=COLOURS["muted"], va="bottom")
    axes.grid(color=COLOURS["grid"], linewidth=0.6)
    axes.tick_params(axis="y", color=COLOURS["memory"], labelcolor=COLOURS["memory"])
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines["top"].set_visible(False)

    load_end = next((event.t_s for event in events if event.event == "load-end"), None)
    if load_end is not None and times and times[-1] > load_end:
        axes.axvspan(load_end, times[-1], color=COLOURS["quiet"], linewidth=0, zorder=0, gid=f"{gid}-quiet")
    if variant.idle_mb is not None:
        axes.axhline(variant.idle_mb, gid=f"{gid}-idle", **IDLE)
    if results.summary.floor_mb is not None:
        axes.axhline(results.summary.floor_mb, gid=f"{gid}-floor", **FLOOR)

    right = axes.twinx()
    right.spines["top"].set_visible(False)
    right.tick_params(axis="y", color=COLOURS["requests"], labelcolor=COLOURS["requests"])
    right.yaxis.set_major_formatter("{x:,.0f}")
    right.plot(
        times,
        [_gap(sample.requests) for sample in samples],
        color=COLOURS["requests"],
        linewidth=1.1,
        gid=f"{gid}-requests",
    )
    if _has_working_set(samples):
        axes.plot(
            times,
            [_gap(sample.working_set_mb) for sample in samples],
            color=COLOURS["working-set"],
            linewidth=0.7,
            gid=f"{gid}-working-set",
        )
    axes.plot(
        times,
        [_gap(sample.pss_mb) for sample in samples],
        color=COLOURS["memory"],
        linewidth=1.4,
        gid=f"{gid}-memory",
    )
    if variant.peak_request and not many:
        _name_peak(axes, samples, variant.peak_request, f"{gid}-peak")
    if not samples:
        axes.text(0.5, 0.4, "no samples", transform=axes.transAxes, ha="center", color=COLOURS["muted"])
    for lane, name in enumerate(lanes):
        moments = _marks(events, name)
        marker, colour, _ = MARKS[name]
        axes.scatter(
            moments,
            [1 - LANE * (lane + 0.5)] * len(moments),
            transform=axes.get_xaxis_transform(),
            marker=marker,
            s=14 if len(moments) < 40 else 7,
            color=COLOURS[colour],
            alpha=0.9 if len(moments) < 40 else 0.6,
            linewidth=0.8 if marker == "x" else 0,
            clip_on=False,
            gid=f"{gid}-mark-{name}",
        )
    return right


def _name_peak(axes: Axes, samples: list[Sample], request: str, gid: str) -> None:
    """Write the request that took most at the highest point beside it."""
    measured = [sample for sample in samples if sample.pss_mb is not None and sample.t_s >= 0]
    if not measured:
        return
    peak = max(measured, key=lambda sample: sample.pss_mb or 0)
    late = peak.t_s > measured[-1].t_s / 2
    axes.annotate(
        _short(request),
        (peak.t_s, peak.pss_mb or 0),
        xytext=(-3 if late else 3, 2),
        textcoords="offset points",
        ha="right" if late else "left",
        fontsize=6.5,
        color=COLOURS["ink"],
        gid=gid,
    )


def _limits(axes: Axes, rights: list[Axes], results: Results, lanes: int) -> None:
    """Give all panels the same scales, with room for the rows of marks, and show only the end of the warm-up."""
    samples = [sample for of_variant in results.samples.values() for sample in of_variant]
    memory = [value for sample in samples for value in (sample.pss_mb, sample.working_set_mb) if value is not None]
    levels = [variant.idle_mb for variant in results.summary.variants] + [results.summary.floor_mb]
    memory += [level for level in levels if level is not None]
    headroom = 1.06 / (1 - LANE * lanes)
    axes.set_ylim(0, (max(memory, default=0) or 1) * headroom)
    served = max((sample.requests or 0 for sample in samples), default=0) or 1
    for right in rights:
        right.set_ylim(0, served * headroom)
    start = min((sample.t_s for sample in samples), default=0.0)
    end = max((sample.t_s for sample in samples), default=1.0)
    axes.set_xlim(max(start, -0.06 * max(end, 1.0)), max(end, 1.0))


def _legend(picture: Figure, results: Results, lanes: list[str], columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    summary = results.summary
    entries: list[Line2D | Patch] = [Line2D([], [], color=COLOURS["requests"], linewidth=1.1, label="requests")]
    if summary.memory == "PSS":
        entries.insert(0, Line2D([], [], color=COLOURS["memory"], linewidth=1.4, label="memory (PSS)"))
    if any(_has_working_set(samples) for samples in results.samples.values()):
        entries.append(Line2D([], [], color=COLOURS["working-set"], linewidth=0.7, label="working set"))
    if any(variant.idle_mb is not None for variant in summary.variants):
        entries.append(Line2D([], [], label="idle memory", **IDLE))
    if summary.floor_mb is not None:
        label = f"ideal mean, {summary.floor_mb:,.0f} MiB"
        entries.append(Line2D([], [], label=label, **FLOOR))
    if any(event.event == "load-end" for events in results.events.values() for event in events):
        entries.append(
            Patch(facecolor=COLOURS["quiet"], edgecolor=COLOURS["muted"], linewidth=0.3, label="quiet phase")
        )
    for name in lanes:
        marker, colour, label = MARKS[name]
        entries.append(Line2D([], [], color=COLOURS[colour], marker=marker, markersize=4, linestyle="", label=label))
    picture.legend(handles=entries, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _marks(events: list[Event], name: str) -> list[float]:
    return [event.t_s for event in events if event.event == name]


def _has_working_set(samples: list[Sample]) -> bool:
    return any(sample.working_set_mb is not None for sample in samples)


def _gap(value: float | None) -> float:
    """A missing figure leaves a gap in the line."""
    return math.nan if value is None else value


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"
