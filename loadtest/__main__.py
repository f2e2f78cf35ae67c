"""The experiment: `make loadtest`, or `python -m loadtest`. With --host, of a deployment that runs already.

Environment: RUNTIME (docker, local), VARIANTS ("without article lowtide", or all), SCENARIO (default, article),
QUICK=1, ROUNDS (1: how often the variants are run in turn), SEED, LOADTEST_PORT (18080: the stack under test runs
beside one that is up).
Results go to results/<time>/ (RESULTS_DIR), and results/latest points there.
Exit codes: 0 the verdict holds, 1 it does not, 2 it could not be measured, 130 interrupted.
"""

import argparse
import math
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from loadtest import deployment, measure, remote, report, runtimes, scenarios, servers, summary
from loadtest.runtimes import CHECKOUT, STATE, CannotMeasure, Runtime
from loadtest.variants import VARIANTS, Variant

DEFAULT_VARIANTS = "without article lowtide"
WORKERS = 4
# Starting, warming up and stopping one variant, roughly.
START_S = 12
console = Console(highlight=False)


class Progress:
    """One line that is rewritten on a terminal, and a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self.prefix = ""
        self._phase = ""
        self._printed = 0.0
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        clock = int(time.monotonic() - self._started)
        line = f"{clock // 60}:{clock % 60:02} {self.prefix:<10} {text}"
        phase = f"{self.prefix} {text.split()[0]}"
        if console.is_terminal:
            console.file.write(f"\r\033[K{line}")
            console.file.flush()
        elif phase != self._phase or time.monotonic() - self._printed >= 10:
            console.print(line, soft_wrap=True)
            self._printed = time.monotonic()
        self._phase = phase

    def end(self) -> None:
        if console.is_terminal:
            console.file.write("\r\033[K")


class Left:
    """How long the rest will take: at first what the scenario says, then as long as the rows before."""

    def __init__(self, rows: int, scenario: scenarios.Scenario) -> None:
        self._rows = rows
        self._done = 0
        load_s = max(scenario.small / scenario.small_rate, scenario.large / scenario.large_rate)
        self._row_s = START_S + measure.IDLE_S + load_s + scenario.quiet_s
        self._started = time.monotonic()

    def next(self) -> str:
        """ "3 of 17, about 22 min left" for the row that begins."""
        if self._done:
            self._row_s = (time.monotonic() - self._started) / self._done
        minutes = math.ceil((self._rows - self._done) * self._row_s / 60)
        self._done += 1
        return f"{self._done} of {self._rows}, about {minutes} min left"


def number(name: str, default: str, least: int = 0) -> int:
    value = os.environ.get(name) or default
    if not value.isdecimal():
        raise CannotMeasure(f"{name}={value} is not a whole number.")
    if int(value) < least:
        raise CannotMeasure(f"{name}={value} is too small: the least is {least}.")
    return int(value)


def chosen_variants() -> list[Variant]:
    """What VARIANTS names and this runtime can run."""
    names = (os.environ.get("VARIANTS") or DEFAULT_VARIANTS).split()
    if names == ["all"]:
        names = list(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise CannotMeasure(f"VARIANTS: there is no variant {', '.join(unknown)}. There are: {', '.join(VARIANTS)}.")
    chosen = [VARIANTS[name] for name in dict.fromkeys(names)]
    if os.environ.get("RUNTIME") != "docker":
        return chosen
    left_out = ", ".join(variant.name for variant in chosen if variant.local_only)
    kept = [variant for variant in chosen if not variant.local_only]
    if not kept:
        raise CannotMeasure(f"The images hold nothing to run {left_out} with: use RUNTIME=local.")
    if left_out:
        said = f"Left out, because the images do not hold what they need (RUNTIME=local does): {left_out}."
        console.print(said, soft_wrap=True)
    return kept


def chosen_scenario() -> str:
    name = os.environ.get("SCENARIO") or "default"
    try:
        scenarios.named(name)
    except ValueError as problem:
        raise CannotMeasure(str(problem)) from None
    if os.environ.get("QUICK") not in (None, "", "0"):
        if name != "default":
            raise CannotMeasure(f"QUICK=1 has a scenario of its own: it does not go with SCENARIO={name}.")
        return "quick"
    return name


def chosen_runtime(port: int, scenario: scenarios.Scenario) -> Runtime:
    # Imports are open, whatever .env says: the stack under test listens on loopback.
    environment = {"WORKERS": str(WORKERS), "MAX_BODY_MB": str(scenario.max_body_mb), "IMPORT_TOKEN": ""}
    match os.environ.get("RUNTIME", "local"):
        case "docker":
            environment["APP_MEMORY"] = f"{max(1024, scenario.memory_mb)}m"
            return runtimes.Docker(port, environment)
        case "local":
            return runtimes.Local(port, environment)
        case other:
            raise CannotMeasure(f"RUNTIME={other} is not a runtime: use docker or local.")


def check_machine(port: int, scenario: scenarios.Scenario) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CannotMeasure(f"Port {port} is in use: choose another with LOADTEST_PORT=...")
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(fields["MemAvailable"].split()[0]) // 1024
    if free < scenario.memory_mb:
        raise CannotMeasure(
            f"Too little memory: this scenario needs {scenario.memory_mb} MiB, {free} MiB are available."
        )


def seed_catalogue(runtime: Runtime, variant: Variant, products: int, seed: int) -> dict[str, Any]:
    """Fill the catalogue once, before anything is measured; returns the versions of what serves."""
    runtime.start(servers.environment(variant))
    try:
        command = ["python", "app/manage.py", "seed_catalog", "--products", str(products), "--seed", str(seed)]
        runtime.run(command)
        return runtimes.versions(runtime)
    finally:
        runtime.stop()


def results_folder() -> Path:
    return Path(os.environ.get("RESULTS_DIR") or CHECKOUT / "results")


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
    progress = Progress()
    try:
        progress.prefix = "catalogue"
        progress("seeding")
        versions = seed_catalogue(runtime, chosen[0], scenario.products, seed)
        measured: list[list[measure.Measured]] = []
        left = Left(len(chosen) * rounds, scenario)
        for number_of_round in range(1, rounds + 1):
            # The variants in turn, again and again, so that a busy hour meets all of them alike.
            folder = directory if number_of_round == 1 else directory / f"round-{number_of_round}"
            folder.mkdir(exist_ok=True)
            measured.append([])
            for variant in chosen:
                progress.prefix = f"{variant.name} ({left.next()})"
                measured[-1].append(measure.variant(runtime, variant, name, seed, folder, progress))
        needs = None
        if "without" in [variant.name for variant in chosen]:
            progress.prefix = "floor"
            repeats = 3 if name == "default" else 1
            needs = measure.needs(runtime, VARIANTS["without"], scenario, seed, progress, repeats)
    finally:
        # A second Ctrl-C must not leave anything running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        progress.prefix = ""
        progress("stopping")
        runtime.clean_up()
        progress.end()
    head = {
        "runtime": runtime.name,
        "environment": summary.machine() | versions,
        "scenario": name,
        "started": started.isoformat(),
        "machine": summary.cpu_model(),
        "rounds": rounds,
    }
    load = {
        "seed": seed,
        "workers": WORKERS,
        "requests": scenario.requests,
        "large_requests": scenario.large,
        "large_body_mb": round(feed.stat().st_size / 2**20, 1),
    }
    counts = Counter(row.name for row, _ in scenarios.requests(scenario, "large", seed))
    outcome = summary.write(directory, measured, needs, counts, head, load)
    report.write(directory)
    latest = results / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(directory.name)
    console.print(report.terminal(outcome))
    console.print(f"The picture, the table and every figure: {os.path.relpath(latest)}/report.html")
    return 0 if outcome["verdict"]["holds"] else 1


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", metavar="URL", help="the deployment to measure, make's HOST (docs/loadtest.md)")
    parser.add_argument("--memory-from", metavar="SOURCE", help="where its memory is read, make's MEMORY_FROM")
    parser.add_argument("--i-own-this-host", action="store_true", help="send load to a host that is not this machine")
    return parser.parse_args(arguments)


def guarded(run: Callable[[], int]) -> int:
    """The exit code of `run`, of what it could not measure, or of an interruption."""
    signal.signal(signal.SIGTERM, interrupted)
    try:
        return run()
    except (CannotMeasure, remote.Forbidden, remote.Unreadable) as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: everything that was started is stopped.", file=sys.stderr)
        return 130


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    return guarded(run if options.host is None else lambda: run_deployment(options))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
