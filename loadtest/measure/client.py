"""Locust, as a process of its own that sends the list of requests."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from loadtest.load import scenarios
from loadtest.measure import CannotMeasure
from loadtest.measure.runtimes import STATE
from loadtest.measure.variants import Variant
from stack import CHECKOUT

LOAD_LIMIT_S = 1800


def described(scenario_name: str, seed: int) -> dict[str, str]:
    """Locust's environment, which says what list it is to send."""
    return os.environ | {
        "LOWTIDE_SCENARIO": scenario_name,
        "LOWTIDE_SEED": str(seed),
        "LOWTIDE_FEEDS": str(STATE),
    }


def run(url: str, variant: Variant, scenario_name: str, seed: int, directory: Path, tick: Callable[[], None]) -> None:
    """Send the whole list; `tick` is called twice a second. Locust's report and statistics go to `directory`."""
    report = directory / f"locust-{variant.name}"
    command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", url, "--html", f"{report}.html", "--csv", str(report), "--exit-code-on-error", "0"]
    # All users start at once. The list and its rates are fixed, so how many users share them does not change the load.
    scenario = scenarios.named(scenario_name)
    users = str(scenario.small_users + scenario.large_users)
    command += ["--users", users, "--spawn-rate", users]
    environment = described(scenario_name, seed) | {
        "LOWTIDE_STREAMING": "1" if variant.streaming else "0",
        "LOWTIDE_REQUEST_LOG": str(directory / f"requests-{variant.name}.csv"),
    }
    log = directory / f"locust-{variant.name}.log"
    deadline = time.monotonic() + LOAD_LIMIT_S
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=out, stderr=out, start_new_session=True
        )
        try:
            while process.poll() is None:
                tick()
                time.sleep(0.5)
                if time.monotonic() > deadline:
                    raise CannotMeasure(f"The list of requests was not done after {LOAD_LIMIT_S} s: {log}")
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(20)
    if process.returncode:
        raise CannotMeasure(f"Locust failed (exit code {process.returncode}): {log}")
