"""The experiment: `make loadtest`, or `python -m loadtest`. With --host it measures a deployment that runs already.

Environment: RUNTIME (docker, local), VARIANTS ("without article lowtide", or all), SCENARIO (default, article),
QUICK=1, ROUNDS (how often the variants are run in turn, 1), SEED, LOADTEST_PORT (18080, another than that of `make up`,
so that both stacks can run side by side).
Results go to results/<time>/ (RESULTS_DIR), and results/latest points there.
Exit codes: 0 the verdict holds, 1 it does not, 2 something could not be measured, 130 interrupted.
"""

import argparse
import os
import sys
from collections import Counter
from datetime import UTC, datetime

from loadtest.commands import deployment, settings
from loadtest.commands.progress import Left, Progress, console
from loadtest.commands.session import (
    check_machine,
    chosen_runtime,
    chosen_scenario,
    chosen_sizing,
    chosen_variants,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
    turns,
)
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure, machine, needs, phases, servers
from loadtest.measure.outcome import Run
from loadtest.measure.runtimes import STATE
from loadtest.measure.variants import VARIANTS
from loadtest.results import files, report, rounds, verdict
from loadtest.results.types import Environment, Load, Results, Summary


def run_deployment(options: argparse.Namespace) -> int:
    if os.environ.get("VARIANTS"):
        raise CannotMeasure("VARIANTS does not go with HOST: a deployment is measured as it is.")
    settings.refuse(settings.NAMES, "because a deployment (HOST) is measured as it is")
    progress = Progress()
    where, owned = (options.host, options.memory_from), options.i_own_this_host
    try:
        outcome = deployment.run(*where, owned, chosen_scenario(), number("SEED", "1"), results_folder(), progress)
    finally:
        progress.end()
    console.print(report.terminal(outcome.summary))
    console.print(f"The picture, the table and every figure: {os.path.relpath(outcome.directory)}/report.html")
    return 0 if outcome.summary.verdict.holds else 1


def run(options: argparse.Namespace) -> int:
    chosen, name = chosen_variants(), chosen_scenario()
    scenario = scenarios.named(name)
    seed, port, repeats = number("SEED", "1"), number("LOADTEST_PORT", "18080"), number("ROUNDS", "1", least=1)
    if recording := scenarios.recording():
        console.print(recording.words(os.environ["LOADTEST_FROM"]), soft_wrap=True)
    load_average = machine.load_average()
    sizing = chosen_sizing(scenario)
    runtime = chosen_runtime(port, sizing, options.database_i_own)
    check_machine(port, scenario)
    for variant in chosen:
        # A library that is missing is reported now, and not after the variants before it have been measured.
        servers.environment(variant, runtime.name)
    started = datetime.now(UTC).replace(microsecond=0)
    results = results_folder()
    directory = results / started.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    large_body_mb = round(scenarios.largest_body_mb(scenario, seed, STATE), 1)
    with session(runtime) as progress:
        progress.prefix = "data"
        progress("seeding")
        versions = fill(runtime, VARIANTS["without"], scenario, seed)
        measured: dict[str, list[Run]] = {variant.name: [] for variant in chosen}
        left_out: dict[str, str] = {}
        left = Left(len(chosen) * repeats, scenario)
        for number_of_round, variant in turns(chosen, repeats):
            progress.prefix = f"{variant.name} ({left.next()})"
            if variant.name in left_out:
                continue
            folder = directory if number_of_round == 1 else directory / f"round-{number_of_round}"
            folder.mkdir(exist_ok=True)
            try:
                single = phases.variant(runtime, variant, name, seed, folder, progress, versions["uwsgi"])
                measured[variant.name].append(single)
            except CannotMeasure as problem:
                # The other variants go on: what they have measured, for hours perhaps, must not be lost.
                left_out[variant.name] = str(problem)
                del measured[variant.name]
                progress(f"cannot be measured: {problem}")
        if not measured:
            raise CannotMeasure("\n".join(dict.fromkeys(left_out.values())))
        alone = {}
        if "without" in measured:
            progress.prefix = "floor"
            alone = needs.measure(runtime, VARIANTS["without"], scenario, seed, progress, 3 if name == "default" else 1)
    variants = [rounds.merged([run.variant for run in runs]) for runs in measured.values()]
    without = next((variant for variant in variants if variant.name == "without"), None)
    counts = Counter(asked.name for asked in scenarios.requests(scenario, "large", seed))
    floor_mb = None
    if without and without.idle_mb is not None and without.wall_s:
        floor_mb = needs.floor_mb(without.idle_mb, without.wall_s, alone, counts)
    summary = Summary(
        service=scenarios.described().name,
        runtime=runtime.name,
        environment=Environment(**machine.size(), **versions),
        scenario=name,
        started=started.isoformat(),
        machine=machine.processor(),
        load_average=load_average,
        rounds=repeats,
        settings=sizing.differing,
        left_out=left_out,
        load=Load(seed, sizing.workers, scenario.requests, scenario.large, large_body_mb),
        floor_mb=floor_mb,
        needs=alone,
        variants=variants,
        verdict=verdict.experiment(variants, runtime.name, scenarios.inflates()),
    )
    # The picture shows the first round.
    firsts = {name: runs[0] for name, runs in measured.items()}
    samples = {name: run.samples for name, run in firsts.items()}
    events = {name: run.events for name, run in firsts.items()}
    files.write(Results(directory, summary, samples, events))
    report.write(directory)
    latest = results / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(directory.name)
    console.print(report.terminal(summary))
    console.print(f"The picture, the table and every figure: {os.path.relpath(latest)}/report.html")
    if left_out:
        return 2
    return 0 if summary.verdict.holds else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    words = parser("loadtest", __doc__)
    words.add_argument("--host", metavar="URL", help="the deployment to measure, make's HOST (docs/loadtest.md)")
    words.add_argument("--memory-from", metavar="SOURCE", help="where its memory is read, make's MEMORY_FROM")
    words.add_argument("--i-own-this-host", action="store_true", help="send load to a host that is not this machine")
    return words.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    return guarded(lambda: run(options) if options.host is None else run_deployment(options))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
