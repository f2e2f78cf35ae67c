"""How memory grows with the number of workers, the share of large requests and their size: `make sweep`.

Each of the three is varied alone while the other two keep their middle value, for `without`, `article` and `lowtide`.
Environment: RUNTIME, SEED, LOADTEST_PORT, RESULTS_DIR as for the experiment; QUICK=1 measures only the least, the
middle and the most of each.
Results go to results/sweep/: sweep.json, sweep.csv, sweep.png, sweep.svg.
Exit codes: 0 measured, 2 could not, 130 interrupted.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from loadtest.commands.progress import Left, console
from loadtest.commands.session import (
    check_machine,
    chosen_runtime,
    chosen_sizing,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
)
from loadtest.load import scenarios
from loadtest.measure import machine, phases
from loadtest.measure.runtimes import STATE
from loadtest.measure.variants import VARIANTS, Variant
from loadtest.results import sweep, types, words

NAMES = tuple(sweep.COLOURS)


@dataclass(frozen=True)
class Point:
    """One point of the sweep: of `requests` requests `large` are large, and a feed has `records` records."""

    workers: int = 4
    large: int = 30
    records: int = 13_000
    requests: int = 1000

    @property
    def scenario(self) -> str:
        return f"sweep small={self.requests - self.large} large={self.large} records={self.records}"

    def variant(self, name: str) -> Variant:
        """The variant with this number of workers. A single worker cannot be split into two pools, so it has one."""
        environment = VARIANTS[name].environment | {"WORKERS": str(self.workers)}
        if self.workers == 1:
            environment["LARGE_WORKERS"] = "0"
        return Variant(name, VARIANTS[name].label, environment)


MIDDLE = Point()
AXES = {
    "workers": [Point(workers=workers) for workers in (1, 2, 4, 8, 16)],
    "share": [Point(large=large) for large in (5, 10, 30, 60)],
    "size": [Point(records=records) for records in (3250, 6500, 13_000, 26_000)],
}


def points(quick: bool) -> Iterator[tuple[str, Point]]:
    for axis, all_points in AXES.items():
        for point in all_points:
            if not quick or point in (all_points[0], MIDDLE, all_points[-1]):
                yield axis, point


def value(axis: str, point: Point, seed: int) -> float:
    """Where the point lies on its axis."""
    if axis == "workers":
        return point.workers
    if axis == "share":
        return point.large / point.requests * 100
    return round(scenarios.largest_body_mb(scenarios.named(point.scenario), seed, STATE), 1)


def row(axis: str, at: float, variant: types.Variant) -> sweep.Row:
    memory = (variant.idle_mb, variant.peak_mb, variant.mean_mb, variant.end_mb)
    return sweep.Row(axis, at, variant.name, *memory, variant.failures)


def run(owned: list[str]) -> int:
    seed, port = number("SEED", "1"), number("LOADTEST_PORT", "18080")
    base = scenarios.named(MIDDLE.scenario)
    sizing = chosen_sizing(base, dict.fromkeys(("WORKERS", "LARGE_WORKERS"), "because make sweep varies the workers"))
    runtime = chosen_runtime(port, sizing, owned)
    check_machine(port, base)
    wanted = list(points(os.environ.get("QUICK") not in (None, "", "0")))
    directory = results_folder() / "sweep"
    directory.mkdir(parents=True, exist_ok=True)
    measured: dict[tuple[Point, str], types.Variant] = {}
    left = Left(len(dict.fromkeys(point for _, point in wanted)) * len(NAMES), base)
    with session(runtime) as progress:
        for axis, point in wanted:
            if (point, NAMES[0]) in measured:
                continue
            progress.prefix = "data"
            progress("seeding")
            versions = fill(runtime, VARIANTS["without"], scenarios.named(point.scenario), seed)
            for name in NAMES:
                progress.prefix = f"{name}, {axis} {value(axis, point, seed):g} ({left.next()})"
                single = phases.variant(runtime, point.variant(name), point.scenario, seed, directory, progress)
                measured[point, name] = single.variant
    rows = [row(axis, value(axis, point, seed), measured[point, name]) for axis, point in wanted for name in NAMES]
    environment = types.Environment(**machine.size(), **versions)
    sweep.write(directory, sweep.Sweep(runtime.name, environment, machine.processor(), rows))
    console.print(sweep.table(rows).terminal())
    console.print(words.machine(environment, machine.processor(), runtime.name))
    console.print(f"The picture: {os.path.relpath(directory)}/sweep.png")
    return 0


if __name__ == "__main__":
    options = parser("loadtest.commands.sweep", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
