"""The chart of a diagnosis: memory over requests, and below it the chain that holds what grew."""

from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lowtide.memory import MIB
from lowtide.tools.diagnose.measure import Plain, Traced
from lowtide.tools.diagnose.verdict import Diagnosis

# Paul Tol's "vibrant" scheme, which colour-blind readers can tell apart.
RESIDENT, LIVE, GIVEN_BACK, MUTED = "#0077bb", "#cc3311", "#009988", "#6a737d"
STYLE: Any = {"font.family": "DejaVu Sans", "font.size": 8, "svg.hashsalt": "lowtide", "text.parse_math": False}
PER_ROW = 5


def draw(file: Path, diagnosis: Diagnosis, plain: Plain, traced: Traced, request: str) -> None:
    """Write the chart; the suffix of `file` says which format (.png, .svg, .pdf).

    Raises:
        OSError: the file cannot be written.
        ValueError: Matplotlib knows no such format.
    """
    chain = diagnosis.evidence["chain"]
    rows = -(-len(chain) // PER_ROW)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.6 + rows), layout="constrained")
        figure.suptitle(f"{diagnosis.verdict}: {_short(request, 90)}", fontsize=10, fontweight="bold")
        if chain:
            above, below = figure.subplots(2, 1, height_ratios=[3.2, rows])
            _chain(below, chain, rows)
        else:
            above = figure.subplots()
        _memory(above, plain, traced, diagnosis.evidence["warm_up"])
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _memory(axes: Axes, plain: Plain, traced: Traced, warm_up: int) -> None:
    """Resident memory with its falls, and the live heap, each as its growth since before the first request."""
    numbers: list[float] = [0]
    resident: list[float] = [0.0]
    trimmed: dict[float, float] = dict(zip(plain.checkpoints, plain.trimmed_mb, strict=False))
    for number, value in zip(plain.numbers, plain.anonymous_mb, strict=True):
        numbers.append(number)
        resident.append(value - plain.base_mb)
        if number in trimmed:
            numbers.append(number)
            resident.append(trimmed[number] - plain.base_mb)
    live = [0.0, *((value - traced.base_bytes) / MIB for value in traced.live_bytes)]
    axes.axvspan(0, warm_up, color="#f1f3f5", linewidth=0, label="warm-up")
    axes.plot(numbers, resident, color=RESIDENT, linewidth=1.4, label="resident memory (anonymous)")
    axes.plot([0, *traced.numbers], live, color=LIVE, linewidth=1.4, label="live Python heap (tracemalloc)")
    if trimmed:
        left = [value - plain.base_mb for value in trimmed.values()]
        axes.plot(list(trimmed), left, "v", color=GIVEN_BACK, markersize=6, label="after malloc_trim(0)")
    axes.set_xlabel("Requests")
    axes.set_ylabel("MiB more than before the first request")
    axes.set_xlim(0, max(*plain.numbers, *traced.numbers) * 1.01)
    low, high = min(0.0, *resident, *live), max(0.1, *resident, *live)
    axes.set_ylim(low * 1.08, high * 1.08)
    axes.grid(color="#e4e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False)


def _chain(axes: Axes, chain: list[dict[str, str]], rows: int) -> None:
    """Boxes from the module to the object, left to right, row by row."""
    axes.set_axis_off()
    axes.set_xlim(0, PER_ROW)
    axes.set_ylim(-rows, 0)
    for index, link in enumerate(chain):
        across, down = index % PER_ROW, index // PER_ROW
        last = index == len(chain) - 1
        name = fill(_short(link["label"] or "refers to", 44), 22)
        axes.text(
            across + 0.5,
            -down - 0.5,
            f"{name}\n{link['type']}",
            ha="center",
            va="center",
            fontsize=7,
            zorder=3,
            color=LIVE if last else "black",
            bbox={"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": LIVE if last else MUTED},
        )
        if not last:
            wraps = across == PER_ROW - 1
            start, end = (
                ((across + 0.5, -down - 0.75), (0.5, -down - 1.22))
                if wraps
                else ((across + 0.84, -down - 0.5), (across + 1.14, -down - 0.5))
            )
            axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": MUTED}, zorder=1)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
