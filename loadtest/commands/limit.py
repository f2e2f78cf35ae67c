"""How each variant fares in a container that is just large enough: `make limit`.

Large requests come one after the other. The floor of this load is the memory that an ideal server would average: idle
memory, and what the large request that is running needs. The container gets FLOORS times as much. reload-on-rss is
the RSS of an idle worker and GIVE_BACK_MB, so that a worker that could not give everything back is replaced at once.
`lowtide` gets LARGE requests, each other variant LARGE_OTHERS. Needs Docker: the kernel is to enforce the limit.
Environment: FLOORS (1.5), RELOAD_ON_RSS, and VARIANTS, SEED, LOADTEST_PORT, RESULTS_DIR as for the experiment.
Shows a table and keeps it in results/limit/ as limit.json and limit.md, with Locust's reports beside it.
Exit codes: 0 `lowtide` lost no request and no process, 1 it did, 2 could not be measured, 130 interrupted.
"""

import math
import os
from collections import Counter

from loadtest.commands.progress import Left, console
from loadtest.commands.session import (
    check_machine,
    chosen_sizing,
    chosen_variants,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
    stack_environment,
)
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure, machine, needs, phases
from loadtest.measure.outcome import Run
from loadtest.measure.runtimes import Docker
from loadtest.measure.variants import VARIANTS
from loadtest.results import files, limit
from loadtest.results.types import Environment
from lowtide.give_back import DEFAULT_THRESHOLD_MB

NAMES = "without article sized trim contained lowtide"
LARGE, LARGE_OTHERS = 500, 60


def scenario(large: int) -> str:
    """With almost as many small requests as large ones, to see whether the server still answers them."""
    return f"tight small={large * 4 // 5} large={large}"


def positive(name: str, default: str) -> float:
    value = os.environ.get(name) or default
    if not value.replace(".", "", 1).isdecimal() or float(value) <= 0:
        raise CannotMeasure(f"{name}={value} is not a number over 0.")
    return float(value)


def row(measured: Run) -> limit.Row:
    highest_mb = max(sample.working_set_mb or 0 for sample in measured.samples)
    variant = measured.variant
    return limit.Row(
        variant.name, variant.requests, variant.failures, variant.oom_kills, round(highest_mb, 1), variant.end_mb
    )


def run(owned: list[str]) -> int:
    chosen = chosen_variants(NAMES)
    floors = positive("FLOORS", "1.5")
    seed, port = number("SEED", "1"), number("LOADTEST_PORT", "18080")
    whole = scenarios.named(scenario(LARGE))
    fixed = dict.fromkeys(("APP_MEMORY", "LARGE_NEED_MB"), "because make limit sets it (FLOORS=1.5)")
    sizing = chosen_sizing(whole, fixed, "docker")
    # With LARGE_NEED_MB=0 the server does not refuse to start in a container that is too small. It is to start here,
    # and to show what happens in such a container.
    without_need = {"LARGE_NEED_MB": "0", "APP_MEMORY": f"{whole.memory_mb}m"}
    ample = Docker(port, stack_environment(sizing) | without_need, owned)
    check_machine(port, whole)
    directory = results_folder() / "limit"
    directory.mkdir(parents=True, exist_ok=True)
    left = Left(len(chosen), scenarios.named(scenario(LARGE_OTHERS)))
    rows: list[limit.Row] = []
    with session(ample) as progress:
        progress.prefix = "floor"
        progress("seeding")
        versions = fill(ample, VARIANTS["without"], whole, seed)
        alone = needs.measure(ample, VARIANTS["without"], whole, seed, progress, rounds=2)
        counts = Counter(asked.row.name for asked in scenarios.requests(whole, "large", seed))
        idle_mb, worker_rss_mb = needs.idle(ample, VARIANTS["lowtide"], whole)
        busy_s = sum(counts[name] * need.seconds for name, need in alone.items())
        floor = needs.floor_mb(idle_mb, busy_s, alone, counts)
        limit_mb = round(floors * floor)
        sized = str(math.ceil(worker_rss_mb + DEFAULT_THRESHOLD_MB))
        reload_on_rss = sizing.environment.get("RELOAD_ON_RSS", sized)
        tight = ample.changed({"APP_MEMORY": f"{limit_mb}m", "RELOAD_ON_RSS": reload_on_rss})
        for variant in chosen:
            progress.prefix = f"{variant.name} in {limit_mb} MiB ({left.next()})"
            load = scenario(LARGE if variant.name == "lowtide" else LARGE_OTHERS)
            measured = phases.variant(tight, variant, load, seed, directory, progress)
            rows.append(row(measured))
    result = limit.Limit(
        environment=Environment(**machine.size(), **versions),
        machine=machine.processor(),
        workers=sizing.workers,
        reload_on_rss=int(reload_on_rss),
        floors=floors,
        floor_mb=round(floor, 1),
        idle_mb=round(idle_mb, 1),
        limit_mb=limit_mb,
        rows=rows,
    )
    files.write_whole(directory / "limit.json", result)
    table = limit.table(result)
    (directory / "limit.md").write_text(table.markdown() + "\n")
    console.print(table.terminal())
    return int(any(row.failures or row.oom_kills for row in rows if row.variant == "lowtide"))


if __name__ == "__main__":
    options = parser("loadtest.commands.limit", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
