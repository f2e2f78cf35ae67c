"""How each variant fares in a container that is just large enough: `make limit`.

The floor of a load is the memory that an ideal server would average: idle memory, and what the large request that is
running needs. The container gets FLOORS times as much. reload-on-rss is the RSS of an idle worker and GIVE_BACK_MB, so
that a worker that could not give everything back is replaced at once. Needs Docker: the kernel is to enforce the limit.

SCENARIO names the list:
  tight   one large request after the other: 500 for `lowtide`, 60 for each other variant (FLOORS=1.5)
  mixed   several large requests at once, with bodies of several sizes: how many does the server answer in a second when
          it counts them (`lowtide`), and when it admits them by their memory (`admitted`)? Here the largest request has
          to fit: the container holds it beside an idle server, and the server knows what it needs. (FLOORS=1.2)

Environment: FLOORS, RELOAD_ON_RSS, and VARIANTS, ROUNDS, SEED, LOADTEST_PORT, RESULTS_DIR as for the experiment.
Shows a table and keeps it as results/limit/limit.json and limit.md, or results/mixed/mixed.json and mixed.md, with
Locust's reports beside it.
Exit codes: 0 `lowtide` and `admitted` lost no request and no process, 1 one of them did, 2 could not be measured,
130 interrupted.
"""

import math
import os
from collections import Counter
from dataclasses import dataclass

from loadtest.commands.progress import Left, console
from loadtest.commands.session import (
    check_machine,
    chosen_scenario,
    chosen_sizing,
    chosen_variants,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
    stack_environment,
    turns,
)
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure, machine, needs, phases
from loadtest.measure.outcome import Run
from loadtest.measure.runtimes import Docker
from loadtest.measure.variants import VARIANTS
from loadtest.results import files, limit, rounds
from loadtest.results.types import Environment
from lowtide.give_back import DEFAULT_THRESHOLD_MB
from lowtide.sizing import HEADROOM_MB, NEED_MARGIN

# What must not lose a request or a process.
OURS = ("lowtide", "admitted")


@dataclass(frozen=True)
class List:
    """What is measured with one list of requests.

    Attributes:
        result: the name of the result's folder and files.
        variants: the rows, unless VARIANTS names others.
        floors: the limit in floors, unless FLOORS says another number.
        others: what variants that are not ours are asked instead of the whole list.
        fits: whether the largest request has to fit into the container.
    """

    result: str
    variants: str
    floors: str
    others: str
    fits: bool


LISTS = {
    "tight": List("limit", "without article sized trim contained lowtide", "1.5", "small=48 large=60", fits=False),
    "mixed": List("mixed", "lowtide admitted", "1.2", "", fits=True),
}


def chosen_list() -> tuple[str, List]:
    """The scenario that SCENARIO names, and what is measured with it."""
    text = chosen_scenario("tight")
    name = text.split()[0]
    if name not in LISTS:
        raise CannotMeasure(f"SCENARIO={text} is no list of make limit: write {' or '.join(LISTS)}.")
    scenario = scenarios.named(text)
    sizes = {asked.size for asked in scenarios.requests(scenario, "large", 1)}
    if len(scenario.sizes) > 1 and len(sizes) == 1:
        raise CannotMeasure(
            f"SCENARIO={text} asks for bodies of several sizes, and no large request has a made one that can vary: "
            f"write one with make_body, which seed_requests does not name, into {scenarios.described().file}."
        )
    return text, LISTS[name]


def positive(name: str, default: str) -> float:
    value = os.environ.get(name) or default
    if not value.replace(".", "", 1).isdecimal() or float(value) <= 0:
        raise CannotMeasure(f"{name}={value} is not a number over 0.")
    return float(value)


def limit_mb(floors: float, floor_mb: float, idle_mb: float, largest_mb: int | None) -> int:
    """FLOORS times the floor; where the largest request has to fit, at least what it needs beside an idle server."""
    least_mb = math.ceil(idle_mb + largest_mb + HEADROOM_MB) if largest_mb else 0
    return max(round(floors * floor_mb), least_mb)


def row(runs: list[Run], at_once: bool) -> limit.Row:
    """One row of the table; `at_once` says whether several large requests were in flight."""
    highest_mb = max(sample.working_set_mb or 0 for run in runs for sample in run.samples)
    variant = rounds.merged([run.variant for run in runs])
    return limit.Row(
        variant.name,
        variant.requests,
        variant.failures,
        variant.oom_kills,
        round(highest_mb, 1),
        variant.end_mb,
        [run.variant.large_per_s or 0 for run in runs] if at_once else [],
    )


def run(owned: list[str]) -> int:
    text, measured_list = chosen_list()
    chosen = chosen_variants(measured_list.variants)
    floors = positive("FLOORS", measured_list.floors)
    seed, port, repeats = number("SEED", "1"), number("LOADTEST_PORT", "18080"), number("ROUNDS", "1", least=1)
    whole = scenarios.named(text)
    fixed = dict.fromkeys(("APP_MEMORY", "LARGE_NEED_MB"), f"because make limit sets it (FLOORS={floors:g})")
    sizing = chosen_sizing(whole, fixed, "docker")
    # With LARGE_NEED_MB=0 the server does not refuse to start in a container that is too small. It is to start here,
    # and to show what happens in such a container.
    without_need = {"LARGE_NEED_MB": "0", "APP_MEMORY": f"{whole.memory_mb}m"}
    ample = Docker(port, stack_environment(sizing) | without_need, owned)
    check_machine(port, whole)
    directory = results_folder() / measured_list.result
    directory.mkdir(parents=True, exist_ok=True)
    lists = {variant.name: text if variant.name in OURS else f"{text} {measured_list.others}" for variant in chosen}
    left = Left(len(chosen) * repeats, scenarios.named(lists[chosen[0].name]))
    runs: dict[str, list[Run]] = {variant.name: [] for variant in chosen}
    with session(ample) as progress:
        progress.prefix = "floor"
        progress("seeding")
        versions = fill(ample, VARIANTS["without"], whole, seed)
        alone = needs.measure(ample, VARIANTS["without"], whole, seed, progress, rounds=2)
        counts = Counter(asked.name for asked in scenarios.requests(whole, "large", seed))
        idle_mb, worker_rss_mb = needs.idle(ample, VARIANTS["lowtide"], whole)
        busy_s = sum(counts[name] * need.seconds for name, need in alone.items())
        floor = needs.floor_mb(idle_mb, busy_s, alone, counts)
        largest_mb = None
        if measured_list.fits:
            largest_mb = math.ceil(max(need.peak_mb for need in alone.values()) * NEED_MARGIN)
        memory_mb = limit_mb(floors, floor, idle_mb, largest_mb)
        sized = str(math.ceil(worker_rss_mb + DEFAULT_THRESHOLD_MB))
        reload_on_rss = sizing.environment.get("RELOAD_ON_RSS", sized)
        changes = {"APP_MEMORY": f"{memory_mb}m", "RELOAD_ON_RSS": reload_on_rss}
        if largest_mb:
            # A request that waits its turn is not to fail, so it may wait for as long as nginx does.
            changes |= {"LARGE_NEED_MB": str(largest_mb), "QUEUE_S": sizing.environment.get("QUEUE_S", "60")}
        tight = ample.changed(changes)
        for number_of_round, variant in turns(chosen, repeats):
            progress.prefix = f"{variant.name} in {memory_mb} MiB ({left.next()})"
            folder = directory if number_of_round == 1 else directory / f"round-{number_of_round}"
            folder.mkdir(exist_ok=True)
            runs[variant.name].append(phases.variant(tight, variant, lists[variant.name], seed, folder, progress))
    result = limit.Limit(
        environment=Environment(**machine.size(), **versions),
        machine=machine.processor(),
        workers=sizing.workers,
        reload_on_rss=int(reload_on_rss),
        floors=floors,
        floor_mb=round(floor, 1),
        idle_mb=round(idle_mb, 1),
        limit_mb=memory_mb,
        rows=[row(of_variant, whole.large_users > 1) for of_variant in runs.values()],
        largest_mb=largest_mb,
    )
    files.write_whole(directory / f"{measured_list.result}.json", result)
    table = limit.table(result)
    (directory / f"{measured_list.result}.md").write_text(table.markdown() + "\n")
    console.print(table.terminal())
    return int(any(row.failures or row.oom_kills for row in result.rows if row.variant in OURS))


if __name__ == "__main__":
    options = parser("loadtest.commands.limit", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
