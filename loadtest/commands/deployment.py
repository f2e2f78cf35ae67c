"""The experiment against a deployment that runs already: `make loadtest HOST=https://... MEMORY_FROM=...`."""

import itertools
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from loadtest.load import scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure, remote
from loadtest.measure.deployment import NAME, check_site, measured
from loadtest.measure.outcome import Run
from loadtest.measure.phases import Say
from loadtest.measure.runtimes import STATE
from loadtest.results import files, report, types, verdict
from loadtest.results.types import Environment, Load, Results, Summary
from lowtide.tools import permission

HOW_TO_SAY_MEMORY = "MEMORY_FROM=https://HOST/metrics#lowtide_memory_pss_bytes, or cloudwatch:CLUSTER/SERVICE@REGION, "


def what_it_writes(site: str, scenario: Scenario, seed: int) -> str:
    """Which requests of the list may change the site's data, in one line."""
    lists = (scenarios.requests(scenario, lane, seed) for lane in scenarios.LANES)
    writing = [asked for asked in itertools.chain(*lists) if asked.call.method not in ("GET", "HEAD", "OPTIONS")]
    if not writing:
        return f"The list only reads from {site}: {scenario.requests} requests."
    counts = Counter(f"{asked.call.method} {asked.path}" for asked in writing)
    kinds = ", ".join(f"{count} x {what}" for what, count in sorted(counts.items()))
    size_mb = sum(len(scenarios.body(asked.call, scenario, seed, STATE, asked.size)) for asked in writing) / 2**20
    return f"Of {scenario.requests} requests these can write to {site}: {kinds}; {size_mb:.0f} MiB in all."


def results(
    directory: Path, measured: Run, kind: types.Memory, scenario_name: str, seed: int, started: datetime
) -> Results:
    """The result of the measurement, ready to be written."""
    scenario = scenarios.named(scenario_name)
    body_mb = round(scenarios.largest_body_mb(scenario, seed, STATE), 1)
    summary = Summary(
        service=scenarios.described().name,
        runtime=NAME,
        environment=Environment(None, None, None, None, None, None),
        scenario=scenario_name,
        started=started.isoformat(),
        memory=kind,
        load=Load(seed, None, scenario.requests, scenario.large, body_mb),
        floor_mb=None,
        variants=[measured.variant],
        verdict=verdict.deployment(measured.variant, scenario.requests),
    )
    return Results(directory, summary, {NAME: measured.samples}, {NAME: measured.events})


def run(host: str, memory_from: str | None, owned: bool, name: str, seed: int, folder: Path, say: Say) -> Results:
    """Measure the deployment at `host`, write the result's files, and return the result.

    Raises:
        CannotMeasure, permission.Forbidden, remote.Unreadable: nothing was sent, or it could not be measured.
    """
    permission.permit(host, owned)
    if not memory_from:
        raise CannotMeasure(
            f"MEMORY_FROM is not set: say where the memory of {host} is read from, {HOW_TO_SAY_MEMORY}"
            "or kubernetes:NAMESPACE/NAME. For load alone: .venv/bin/locust -f loadtest/load/locustfile.py --host ..."
        )
    source, site, scenario = remote.for_source(memory_from), host.rstrip("/"), scenarios.named(name)
    say(f"asking {site}")
    source.read()
    print(what_it_writes(site, scenario, seed), flush=True)
    check_site(site, scenario, seed)
    started = datetime.now(UTC).replace(microsecond=0)
    directory = folder / started.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    outcome = results(directory, measured(site, source, name, seed, directory, say), source.kind, name, seed, started)
    files.write(outcome)
    report.write(directory)
    return outcome
