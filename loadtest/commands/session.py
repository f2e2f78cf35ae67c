"""What every command of the experiment begins and ends with.

It reads what the environment chooses, checks that the machine can do it, and stops whatever was started at the end.
"""

import argparse
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from loadtest.commands import settings
from loadtest.commands.progress import Progress, console
from loadtest.commands.settings import Sizing
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure, machine, remote, runtimes, servers, site
from loadtest.measure.runtimes import STATE, Runtime
from loadtest.measure.variants import VARIANTS, Variant
from lowtide import application
from lowtide.tools import permission
from stack import CHECKOUT, own

DEFAULT_VARIANTS = "without article lowtide"


def number(name: str, default: str, least: int = 0) -> int:
    value = os.environ.get(name) or default
    if not value.isdecimal():
        raise CannotMeasure(f"{name}={value} is not a whole number.")
    if int(value) < least:
        raise CannotMeasure(f"{name}={value} is too small: the least is {least}.")
    return int(value)


def chosen_variants(default: str = DEFAULT_VARIANTS) -> list[Variant]:
    """The variants that VARIANTS names."""
    names = (os.environ.get("VARIANTS") or default).split()
    if names == ["all"]:
        names = [name for name, variant in VARIANTS.items() if not variant.by_name_only]
    if unknown := [name for name in names if name not in VARIANTS]:
        raise CannotMeasure(f"VARIANTS: there is no variant {', '.join(unknown)}. There are: {', '.join(VARIANTS)}.")
    return [VARIANTS[name] for name in dict.fromkeys(names)]


def chosen_scenario(default: str = "default") -> str:
    """The scenario that SCENARIO names, with the fields that it changes."""
    name = os.environ.get("SCENARIO") or default
    try:
        scenarios.named(name)
    except ValueError as problem:
        raise CannotMeasure(str(problem)) from None
    if os.environ.get("QUICK") not in (None, "", "0"):
        if name != "default":
            raise CannotMeasure(f"QUICK=1 has a scenario of its own: it does not go with SCENARIO={name}.")
        return "quick"
    return name


def turns(chosen: list[Variant], rounds: int) -> Iterator[tuple[int, Variant]]:
    """The round and the variant of each run. Every other round goes backwards, so a slowing machine favours none."""
    for number_of_round in range(1, rounds + 1):
        for variant in chosen if number_of_round % 2 else reversed(chosen):
            yield number_of_round, variant


def chosen_sizing(
    scenario: scenarios.Scenario, fixed: dict[str, str] | None = None, runtime: str | None = None
) -> Sizing:
    """How large the stack under test is; `fixed` are the variables that the command sets itself, and why."""
    sizing = settings.sizing(scenario, runtime or os.environ.get("RUNTIME", "local"), fixed or {})
    for note in sizing.notes:
        console.print(note, soft_wrap=True)
    return sizing


def stack_environment(sizing: Sizing) -> dict[str, str]:
    """The variables of every stack under test."""
    # The application's own variables have the experiment's values and not those of .env. They also go into this
    # process's environment, from which the headers of requests take them.
    variables = {
        name: rule.loadtest for name, rule in scenarios.described().variables.items() if rule.loadtest is not None
    }
    os.environ.update(variables)
    return {"APP_DIR": str(scenarios.described().folder), **sizing.environment, **variables}


def parser(program: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every command understands that starts a stack under test."""
    made = argparse.ArgumentParser(
        prog=f"python -m {program}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--database-i-own",
        metavar="NAME",
        action="append",
        default=[],
        help="write into this database although it is not the experiment's own; for other stores too, may be repeated",
    )
    return made


def chosen_runtime(port: int, sizing: Sizing, owned: list[str]) -> Runtime:
    environment = stack_environment(sizing)
    match os.environ.get("RUNTIME", "local"):
        case "docker":
            return runtimes.Docker(port, environment, owned)
        case "local":
            return runtimes.Local(port, environment, owned)
        case other:
            raise CannotMeasure(f"RUNTIME={other} is not a runtime: use docker or local.")


def check_port(port: int, name: str) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise CannotMeasure(f"Port {port} is in use: choose another with {name}=...")


def check_machine(port: int, scenario: scenarios.Scenario) -> None:
    check_port(port, "LOADTEST_PORT")
    free = machine.available_mb()
    if free < scenario.memory_mb:
        raise CannotMeasure(
            f"Too little memory: this scenario needs {scenario.memory_mb} MiB, {free} MiB are available."
        )


def fill(runtime: Runtime, variant: Variant, scenario: scenarios.Scenario, seed: int) -> dict[str, Any]:
    """Fill the fresh database as lowtide.toml says; returns the versions of what serves."""
    runtime.start(servers.environment(variant, runtime.name))
    try:
        manage = ["python", "-m", "lowtide.application", "manage"]
        for command in scenarios.seed_commands(scenario, seed):
            runtime.run([*manage, *shlex.split(command)])
        site.log_in(runtime.url)
        # Of lowtide.toml also where the requests of the load come from a file.
        rows = described.requests if (described := scenarios.described().loadtest) else ()
        for name in scenarios.loadtest().seed_requests:
            (row,) = (row for row in rows if row.name == name)
            site.ask(runtime.url, row, body=scenarios.body(row, scenario, seed, STATE))
        return runtimes.versions(runtime)
    finally:
        runtime.stop()


def results_folder() -> Path:
    return Path(os.environ.get("RESULTS_DIR") or CHECKOUT / "results")


@contextmanager
def session(runtime: Runtime) -> Iterator[Progress]:
    """Show progress on the terminal, and stop the stack under test at the end, however the body ends."""
    progress = Progress()
    try:
        yield progress
    finally:
        # A second Ctrl-C is ignored, because it would interrupt the stopping and leave processes behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        progress.prefix = ""
        progress("stopping")
        runtime.clean_up()
        progress.end()


def interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def guarded(run: Callable[[], int]) -> int:
    """The exit code of `run`, of what it could not measure, or of an interruption."""
    # SIGINT needs a handler of ours too: a shell starts background jobs with SIGINT ignored, and Python then keeps it
    # so.
    for interrupting in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupting, interrupted)
    try:
        return run()
    except (CannotMeasure, application.Invalid, own.NotOwn, permission.Forbidden, remote.Unreadable) as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: everything that was started is stopped.", file=sys.stderr)
        return 130
