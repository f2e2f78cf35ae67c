"""What replacing a worker costs: how long its place is empty, and how slow the first request to its successor is.

    make forks          or: python -m loadtest.commands.forks

Kills all workers of a running stack, again and again, and each time measures the next request, which a fresh worker
answers. Then tells one worker at a time to leave, and reads from the log how long it took until its successor started.
Shows a table, with the memory of fresh and of idle workers beside, and keeps it in results/forks/forks.json. Runs in
the local runtime, on LOADTEST_PORT.
Exit codes: 0 measured, 2 could not.
"""

import os
import signal
import statistics
import time

from loadtest.commands.progress import console
from loadtest.commands.session import (
    check_machine,
    chosen_sizing,
    fill,
    guarded,
    number,
    parser,
    results_folder,
    session,
    stack_environment,
)
from loadtest.load import scenarios
from loadtest.measure import machine, recycles, sampling, site
from loadtest.measure.runtimes import Local, Runtime
from loadtest.measure.variants import VARIANTS, Variant
from loadtest.results import files, forks
from loadtest.results.types import Environment
from lowtide import sample

ROUNDS = 12
NOT_FILLED = {"FILL_HOLES": "0"}
MORTAL = VARIANTS["mortal"].environment | NOT_FILLED
MEASURES = {
    "uWSGI as it comes": MORTAL | {"PRELOAD": "off", "GC_FREEZE": "0", "WAKE_MASTER": "0"},
    "the master woken by SIGCHLD": MORTAL | {"PRELOAD": "off", "GC_FREEZE": "0"},
    "and the garbage collector frozen": MORTAL | {"PRELOAD": "off"},
    "and URLconf and templates loaded": MORTAL | {"PRELOAD": "code"},
    "and requests answered": MORTAL,
    "and what is loaded immortal, from Python 3.12 on": NOT_FILLED,
    "and holes filled (what ships)": {},
}


def first_request_ms(runtime: Runtime, sampler: sampling.Sampler) -> float:
    sampling.fresh_workers(runtime, sampler)
    start = time.perf_counter()
    site.page(runtime.url)
    return (time.perf_counter() - start) * 1000


def away_ms(runtime: Runtime, workers: int) -> list[float]:
    """How long the places of ROUNDS workers were empty.

    The sampler must not run meanwhile: each of its questions to the statistics socket wakes the master, which then sees
    sooner that a worker has left.
    """
    started = time.time()
    for turn in range(ROUNDS):
        pid = sample.uwsgi(runtime.stats_socket).workers[turn % workers]
        # The master looks for dead workers once a second; each worker leaves at another moment of that second.
        time.sleep(0.3 + turn / ROUNDS)
        os.kill(pid, signal.SIGHUP)
        time.sleep(1.3)
    ends = recycles.uwsgi_lines(runtime.log())
    return [end["away_s"] * 1000 for end in ends if end["time"] >= started and end["reason"] == "signal"]


def row(runtime: Runtime, label: str, variant: Variant, scenario: scenarios.Scenario, workers: int) -> forks.Row:
    runtime.start(variant.environment)
    try:
        with sampling.sampling(runtime, sampling.INTERVAL_S / 5) as sampler:
            sampler.last()
            fresh_mb = sampling.median_mb(sampler.between(time.time() - 1, time.time()))
            site.warm_up(runtime.url, scenario)
            time.sleep(1)
            idle_mb = sampling.median_mb(sampler.between(time.time() - 1, time.time()))
            first = [first_request_ms(runtime, sampler) for _ in range(ROUNDS)]
            later = []
            for _ in range(50):
                start = time.perf_counter()
                site.page(runtime.url)
                later.append((time.perf_counter() - start) * 1000)
        away = away_ms(runtime, workers)
    finally:
        runtime.stop()
    return forks.Row(
        label,
        statistics.median(away),
        max(away),
        fresh_mb,
        idle_mb,
        statistics.median(first),
        max(first),
        statistics.median(later),
    )


def run(owned: list[str]) -> int:
    scenario = scenarios.SCENARIOS["quick"]
    port = number("LOADTEST_PORT", "18080")
    # Local only: Compose hands the container only the variables that it names, and not those in MEASURES.
    sizing = chosen_sizing(scenario, runtime="local")
    runtime = Local(port, stack_environment(sizing), owned)
    check_machine(port, scenario)
    rows = []
    shipped = VARIANTS["lowtide"]
    with session(runtime) as progress:
        progress("seeding")
        versions = fill(runtime, shipped, scenario, 1)
        for label, environment in MEASURES.items():
            progress(label)
            variant = Variant(shipped.name, label, shipped.environment | environment)
            rows.append(row(runtime, label, variant, scenario, sizing.workers))
    on = Environment(**machine.size(), **versions)
    result = forks.Forks(on, machine.processor(), sizing.workers, ROUNDS, rows)
    directory = results_folder() / "forks"
    directory.mkdir(parents=True, exist_ok=True)
    files.write_whole(directory / "forks.json", result)
    console.print(forks.table(result).terminal())
    return 0


if __name__ == "__main__":
    options = parser("loadtest.commands.forks", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
