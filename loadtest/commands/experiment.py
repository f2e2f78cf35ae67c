"""The experiment: `make loadtest`, or `python -m loadtest`. With --host, of a deployment that runs already.

Environment: RUNTIME (docker, local), VARIANTS ("without article lowtide", or all), SCENARIO (default, article),
QUICK=1, ROUNDS (1: how often the variants are run in turn), SEED, LOADTEST_PORT (18080: the stack under test runs
beside one that is up).
Results go to results/<time>/ (RESULTS_DIR), and results/latest points there.
Exit codes: 0 the verdict holds, 1 it does not, 2 something could not be measured, 130 interrupted.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from loadtest.commands import deployment
from loadtest.commands.progress import Left, Progress, console
from loadtest.commands.session import (
    WORKERS,
    check_machine,
    chosen_runtime,
    chosen_scenario,
    chosen_variants,
    guarded,
    number,
    results_folder,
    seed_catalogue,
    session,
)
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure, needs, phases, servers
from loadtest.measure.runtimes import STATE
from loadtest.measure.variants import VARIANTS, Variant
from loadtest.results import report, summary


def run_deployment(options: argparse.Namespace) -> int:
    if os.environ.get("VARIANTS"):
        raise CannotMeasure("VARIANTS does not go with HOST: a deployment is measured as it is.")
    progress = Progress()
    where, owned = (options.host, options.memory_from), options.i_own_this_host
    try:
        directory, outcome = deployment.run(
            *where, owned, chosen_scenario(), number("SEED", "1"), results_folder(), progress
        )
    finally:
        progress.end()
    console.print(report.terminal(outcome))
    console.print(f"The picture, the table and every figure: {os.path.relpath(directory)}/report.html")
    return 0 if outcome["verdict"]["holds"] else 1


def turns(chosen: list[Variant], rounds: int) -> Iterator[tuple[int, Variant]]:
    """The round and the variant of each run, forwards and then backwards: so a machine that slows down favours none."""
    for number_of_round in range(1, rounds + 1):
        for variant in chosen if number_of_round % 2 else reversed(chosen):
            yield number_of_round, variant


def run() -> int:
    chosen, name = chosen_variants(), chosen_scenario()
    scenario = scenarios.named(name)
    seed, port, rounds = number("SEED", "1"), number("LOADTEST_PORT", "18080"), number("ROUNDS", "1", least=1)
    runtime = chosen_runtime(port, scenario)
    check_machine(port, scenario)
    for variant in chosen:
        # What is missing is said now and not after an hour.
        servers.environment(variant)
    started = datetime.now(UTC).replace(microsecond=0)
    results = results_folder()
    directory = results / started.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    feed = scenarios.feed(scenario, seed, STATE)
    with session(runtime) as progress:
        progress.prefix = "catalogue"
        progress("seeding")
        versions = seed_catalogue(runtime, VARIANTS["without"], scenario, seed)
        measured: dict[str, list[phases.Measured]] = {variant.name: [] for variant in chosen}
        left_out: dict[str, str] = {}
        left = Left(len(chosen) * rounds, scenario)
        for number_of_round, variant in turns(chosen, rounds):
            progress.prefix = f"{variant.name} ({left.next()})"
            if variant.name in left_out:
                continue
            folder = directory if number_of_round == 1 else directory / f"round-{number_of_round}"
            folder.mkdir(exist_ok=True)
            try:
                measured[variant.name].append(phases.variant(runtime, variant, name, seed, folder, progress))
            except CannotMeasure as problem:
                # The others' hours are not thrown away for it.
                left_out[variant.name] = str(problem)
                del measured[variant.name]
                progress(f"cannot be measured: {problem}")
        if not measured:
            raise CannotMeasure("\n".join(dict.fromkeys(left_out.values())))
        found_needs = None
        if "without" in measured:
            progress.prefix = "floor"
            repeats = 3 if name == "default" else 1
            found_needs = needs.measure(runtime, VARIANTS["without"], scenario, seed, progress, repeats)
    head = {
        "runtime": runtime.name,
        "environment": summary.machine() | versions,
        "scenario": name,
        "started": started.isoformat(),
        "machine": summary.cpu_model(),
        "rounds": rounds,
        "left_out": left_out,
    }
    load = {
        "seed": seed,
        "workers": WORKERS,
        "requests": scenario.requests,
        "large_requests": scenario.large,
        "large_body_mb": round(feed.stat().st_size / 2**20, 1),
    }
    counts = Counter(row.name for row, _ in scenarios.requests(scenario, "large", seed))
    outcome = summary.write(directory, list(measured.values()), found_needs, counts, head, load)
    report.write(directory)
    latest = results / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(directory.name)
    console.print(report.terminal(outcome))
    console.print(f"The picture, the table and every figure: {os.path.relpath(latest)}/report.html")
    if left_out:
        return 2
    return 0 if outcome["verdict"]["holds"] else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", metavar="URL", help="the deployment to measure, make's HOST (docs/loadtest.md)")
    parser.add_argument("--memory-from", metavar="SOURCE", help="where its memory is read, make's MEMORY_FROM")
    parser.add_argument("--i-own-this-host", action="store_true", help="send load to a host that is not this machine")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    return guarded(run if options.host is None else lambda: run_deployment(options))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
