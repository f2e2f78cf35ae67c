"""The sizing of the stack under test: what the shell and .env set, checked before anything starts.

A variable that is set is used, or refused in one line that says what to write. `make up` has written every default into
.env, so a variable in .env counts as set only if its value differs from .env.example.
"""

import io
import os
import re
from collections.abc import Collection
from dataclasses import dataclass

from dotenv import dotenv_values

from loadtest.load.scenarios import Scenario, described
from loadtest.measure import CannotMeasure
from lowtide import start
from lowtide.sizing import measured
from lowtide.tools import sizes
from stack import CHECKOUT

# Whole numbers, with the least and the most of each where there is one. nginx/start knows the same bounds.
NUMBERS: dict[str, tuple[int, int | None]] = {
    "WORKERS": (1, None),
    "LARGE_WORKERS": (0, None),
    "LARGE_IN_FLIGHT": (1, 999),
    "SMALL_IN_FLIGHT": (1, 999),
    "CLIENT_IN_FLIGHT": (1, 65_535),
    "QUEUE_S": (0, None),
    "RELOAD_ON_RSS": (1, None),
    "GIVE_BACK_MB": (0, None),
    "LEDGER": (0, None),
    "LARGE_NEED_MB": (0, None),
    "DATABASE_TIMEOUT": (0, None),
    "MAX_BODY_MB": (1, 999_999),
}
NAMES = (*NUMBERS, "APP_MEMORY", "WORKER_CEILING", "WORKER_MANAGEMENT", "ADMISSION", "LEARN_ROUTES", "IMMORTAL")


@dataclass(frozen=True)
class Sizing:
    """The sizing variables of the stack under test.

    Attributes:
        environment: all of them.
        differing: those that differ from the settings that ship.
        notes: what .env sets and this command cannot use, in sentences.
    """

    environment: dict[str, str]
    differing: dict[str, str]
    notes: list[str]

    @property
    def workers(self) -> int:
        return int(self.environment["WORKERS"])


def refuse(names: Collection[str], why: str) -> None:
    """Refuse sizing variables of the shell that a command cannot use."""
    for name in names:
        if value := os.environ.get(name):
            raise CannotMeasure(f"{name}={value} cannot be used here, {why}: leave it out.")


def sizing(scenario: Scenario, runtime: str, fixed: dict[str, str]) -> Sizing:
    """The sizes of the stack under test. `fixed` are the variables that the command sets itself, each with the reason.

    Raises:
        CannotMeasure: a value that cannot be used.
    """
    fixed = {"WORKER_MANAGEMENT": "because the variants differ in it (VARIANTS=article)"} | fixed
    if runtime == "local":
        fixed.setdefault("APP_MEMORY", "because only a container has a limit (RUNTIME=docker)")
        fixed.setdefault("DATABASE_TIMEOUT", "because SQLite has no such limit (RUNTIME=docker)")
    for name, why in fixed.items():
        refuse([name], why)
    shipped, own = _shipped(), dotenv_values(CHECKOUT / ".env")
    from_file = {name: value for name in NAMES if (value := own.get(name)) and value != shipped.get(name)}
    unused = from_file.keys() & fixed
    notes = [f"{name}={from_file[name]} of .env is not used, {fixed[name]}." for name in sorted(unused)]
    given = {name: value for name, value in from_file.items() if name not in unused}
    given |= {name: value for name in NAMES if (value := os.environ.get(name))}
    environment = _checked(given, scenario)
    if runtime == "docker":
        environment.setdefault("APP_MEMORY", f"{max(1024, scenario.memory_mb)}m")
    differing = {name: value for name, value in environment.items() if not _same(name, value, shipped.get(name))}
    return Sizing(environment, differing, notes)


def _shipped() -> dict[str, str]:
    """What the stack uses where nothing is set."""
    # A line of .env.example that is commented out has the default of what reads the variable.
    text = re.sub(r"(?m)^# (?=[A-Z_]+=)", "", (CHECKOUT / ".env.example").read_text())
    example = dotenv_values(stream=io.StringIO(text))
    shipped = {name: value for name in NAMES if (value := example.get(name))}
    # The need of a large request is that of the application in this checkout.
    load = measured(described())
    return shipped | {"LARGE_NEED_MB": str(load.need_mb) if load else ""}


def _checked(given: dict[str, str], scenario: Scenario) -> dict[str, str]:
    for name, (least, most) in NUMBERS.items():
        value = given.get(name, str(least))
        if not value.isdecimal() or int(value) < least or (most and int(value) > most):
            bounds = f"from {least} to {most}" if most else f"of at least {least}"
            raise CannotMeasure(f"{name}={value} cannot be used: write a whole number {bounds}.")
    if memory := given.get("APP_MEMORY"):
        try:
            sizes.docker_mb(memory)
        except ValueError as problem:
            raise CannotMeasure(f"APP_MEMORY={memory} cannot be used: {problem}.") from None
    body_mb = given.get("MAX_BODY_MB", str(scenario.max_body_mb))
    if int(body_mb) < scenario.max_body_mb:
        raise CannotMeasure(
            f"MAX_BODY_MB={body_mb} would refuse bodies of this scenario: write at least {scenario.max_body_mb}."
        )
    try:
        whole = start.settings(given)
    except start.Unusable as problem:
        raise CannotMeasure(str(problem)) from None
    # Both numbers of workers are passed on, because the default of one depends on the other.
    return given | {"WORKERS": whole["WORKERS"], "LARGE_WORKERS": whole["LARGE_WORKERS"], "MAX_BODY_MB": body_mb}


def _same(name: str, value: str, shipped: str | None) -> bool:
    if name == "APP_MEMORY" and shipped:
        return sizes.docker_mb(value) == sizes.docker_mb(shipped)
    if name in NUMBERS and shipped:
        return int(value) == int(shipped)
    return value == shipped
