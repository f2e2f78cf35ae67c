"""The files and the picture of `make sweep`: memory by workers, by the share of large requests and by their size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from loadtest.results import files, plot, words
from loadtest.results.tables import Table
from loadtest.results.types import Environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In the order of the panels, with what is written below each.
LABELS = {"workers": "workers", "share": "large requests, % of all", "size": "body of a large request, MiB"}
COLOURS = {"without": plot.COLOURS["mark"], "article": plot.COLOURS["requests"], "lowtide": plot.COLOURS["memory"]}


class Row(Struct):
    """One variant at one point of an axis; memory in MiB."""

    axis: str
    value: float
    variant: str
    idle_mb: float | None
    peak_mb: float | None
    mean_mb: float | None
    end_mb: float | None
    failures: int


class Sweep(Struct):
    """`sweep.json`."""

    runtime: str
    environment: Environment
    machine: str
    rows: list[Row]


def figure(rows: list[Row]) -> Figure:
    """One panel for each axis, all on one scale: the mean as a line, the peak dotted."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(9.0, 3.6), layout="constrained")
    panels: list[Axes] = list(picture.subplots(1, len(LABELS), sharey=True))
    for panel, axis in zip(panels, LABELS, strict=True):
        of_axis = [row for row in rows if row.axis == axis]
        for name, colour in COLOURS.items():
            of_variant = [row for row in of_axis if row.variant == name]
            values = [row.value for row in of_variant]
            means, peaks = [row.mean_mb for row in of_variant], [row.peak_mb for row in of_variant]
            line: dict[str, Any] = {"color": colour, "linewidth": 1.6}
            panel.plot(values, means, "-o", markersize=3.5, label=f"{name}, mean", **line)  # type: ignore[arg-type]
            panel.plot(values, peaks, ":", label=f"{name}, peak", **line)  # type: ignore[arg-type]
        ticks = list(dict.fromkeys(row.value for row in of_axis))
        panel.set_xlabel(LABELS[axis])
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.grid(color=plot.COLOURS["grid"], linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("Memory (PSS, MiB)")
    picture.suptitle("Server memory by workers, share and size of large requests", fontsize=10)
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=len(handles), frameon=False)
    return picture


def write(directory: Path, sweep: Sweep) -> None:
    """sweep.json, sweep.csv, sweep.png and sweep.svg."""
    files.write_whole(directory / "sweep.json", sweep)
    files.write_rows(directory / "sweep.csv", Row, sweep.rows)
    with plot.styled():
        picture = figure(sweep.rows)
        picture.savefig(directory / "sweep.png", dpi=200, metadata={"Software": None})
        picture.savefig(directory / "sweep.svg", metadata={"Date": None, "Creator": None})


def table(rows: list[Row]) -> Table:
    shown = Table(["axis", "variant", "value", "idle", "peak", "mean", "end", "failures"], texts=2)
    shown.caption = "MiB of PSS"
    for row in rows:
        memory = (row.idle_mb, row.peak_mb, row.mean_mb, row.end_mb)
        shown.rows.append([row.axis, row.variant, f"{row.value:g}", *map(words.number, memory), str(row.failures)])
    return shown


def markdown(sweep: Sweep) -> str:
    """For a page: a row for each point of an axis, a column for each variant."""
    shown = Table(["axis", "value", *(f"`{name}` idle / mean / peak" for name in COLOURS)])
    for axis, at in dict.fromkeys((row.axis, row.value) for row in sweep.rows):
        point = {row.variant: row for row in sweep.rows if (row.axis, row.value) == (axis, at)}
        memory = [(row.idle_mb, row.mean_mb, row.peak_mb) for row in (point[name] for name in COLOURS)]
        shown.rows.append([LABELS[axis], f"{at:g}", *(" / ".join(map(words.number, figures)) for figures in memory)])
    failed = sum(row.failures for row in sweep.rows)
    shown.caption = (
        f"Memory in MiB of PSS, one run a point. {words.sentence(words.count(failed, 'request') + ' failed')} "
        f"{words.machine(sweep.environment, sweep.machine, sweep.runtime)}"
    )
    return shown.markdown()
