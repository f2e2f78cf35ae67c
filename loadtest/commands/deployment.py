"""The experiment against a deployment that runs already: `make loadtest HOST=https://... MEMORY_FROM=...`.

The phases are those of a variant (`loadtest.measure.phases`), but nothing is started, configured or stopped: what the
deployment is, and who else asks it meanwhile, is not known here. Memory is read from where the deployment shows it
(loadtest/measure/remote.py), so the figures that need a look into its container stay empty: workers, recycles and
OOM kills.
"""

import bisect
import csv
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from loadtest.load import requests_log, scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure, client, remote, site
from loadtest.measure.phases import Say
from loadtest.measure.runtimes import STATE
from loadtest.measure.variants import Variant
from loadtest.results import report, summary, words
from lowtide.tools import permission

NAME = "deployment"
HOW_TO_SAY_MEMORY = "MEMORY_FROM=https://HOST/metrics#lowtide_memory_pss_bytes, or cloudwatch:CLUSTER/SERVICE@REGION, "
# Memory at rest is the median of so many figures, the newest of the phase.
NEWEST = 3
_TIMEOUT_S = 30


@dataclass
class Watch:
    """Reads memory in a thread of its own until it is closed. A figure that cannot be read leaves a gap."""

    source: remote.Source
    figures: list[tuple[float, float]] = field(default_factory=list)
    problem: str = "there was none yet"

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                figure = self.source.read()
                if not self.figures or figure[0] > self.figures[-1][0]:
                    self.figures.append(figure)
            except remote.Unreadable as problem:
                self.problem = str(problem)
            self._over.wait(self.source.every_s)

    def close(self) -> None:
        self._over.set()
        self._reader.join(_TIMEOUT_S)

    def between(self, start: float, end: float) -> list[float]:
        return [memory_mb for moment, memory_mb in self.figures if start <= moment <= end]

    def at_rest(self, start: float, end: float) -> float:
        """Median of the newest figures of a phase, MiB.

        Raises:
            CannotMeasure: there is none.
        """
        newest = self.between(start, end)[-NEWEST:]
        if not newest or statistics.median(newest) <= 0:
            raise CannotMeasure(f"No memory was read in a phase that needs it; the last that was said: {self.problem}")
        return round(statistics.median(newest), 1)


@contextmanager
def watching(source: remote.Source) -> Iterator[Watch]:
    watch = Watch(source)
    try:
        yield watch
    finally:
        watch.close()


def check_site(site: str, scenario: Scenario, seed: int) -> None:
    """One small request of each kind, and an import of nothing.

    Raises:
        CannotMeasure: the site would not serve the list; the message says why.
    """
    kinds = {row.name: path for row, path in scenarios.requests(scenario, "small", seed)}
    feeds = [path for row, path in scenarios.requests(scenario, "large", seed) if row.feed]
    headers = scenarios.authorization() | {"Content-Type": "application/json"}
    try:
        for path in kinds.values():
            answer = requests.get(site + path, timeout=_TIMEOUT_S, allow_redirects=False)
            if answer.is_redirect:
                place = answer.headers["Location"]
                raise CannotMeasure(f"{site}{path} only leads to {place}: give the address that answers as HOST.")
            if answer.status_code != 200:
                raise CannotMeasure(
                    f"{site}{path} answered {answer.status_code}. The list asks for {scenario.products} products: "
                    f"is its catalogue filled (manage.py seed_catalog --products {scenario.products})?"
                )
        for path in feeds[:1]:
            answer = requests.post(site + path, data=b"[]", headers=headers, timeout=_TIMEOUT_S, allow_redirects=False)
            if answer.status_code in (401, 403):
                raise CannotMeasure(
                    f"{site}{path} answered {answer.status_code}: its imports need the token, "
                    "IMPORT_TOKEN=... in the environment of make."
                )
    except requests.RequestException as error:
        raise CannotMeasure(f"{site} does not answer: {error}") from None


@dataclass(frozen=True)
class Measured:
    """Phase marks in Unix seconds, memory in MiB."""

    watch: Watch
    load_start: float
    load_end: float
    idle_mb: float
    end_mb: float
    latencies: requests_log.Latencies
    # When each request was answered.
    answered: list[float]


def measured(address: str, source: remote.Source, name: str, seed: int, directory: Path, say: Say) -> Measured:
    """Warm-up, idle, the list, quiet. Locust's report and the log of requests go to `directory`."""
    scenario = scenarios.named(name)
    say("warm-up")
    site.warm_up(address, scenario)
    with watching(source) as watch:
        say("idle")
        idle_start = time.time()
        time.sleep(source.settle_s)
        load_start = time.time()
        idle_mb = watch.at_rest(idle_start, load_start)

        def tick() -> None:
            say(f"load    {source.kind} {watch.figures[-1][1]:>6.0f} MiB")

        client.run(address, Variant(NAME, address, {}), name, seed, directory, tick)
        log = directory / f"requests-{NAME}.csv"
        latencies, answered = requests_log.read(log), requests_log.ends(log)
        load_end = time.time()
        say("quiet")
        site.quiet(address, max(scenario.quiet_s, source.settle_s))
        end_mb = watch.at_rest(load_end, time.time())
    return Measured(watch, load_start, load_end, idle_mb, end_mb, latencies, answered)


def row(found: Measured, site: str) -> dict[str, Any]:
    """The one entry of `variants`."""
    loaded = found.watch.between(found.load_start, found.load_end)
    after = found.watch.between(found.load_start, time.time())
    log = found.latencies
    return {
        "name": NAME,
        "label": site,
        "idle_mb": found.idle_mb,
        "peak_mb": round(max(after), 1),
        "mean_mb": round(statistics.fmean(loaded), 1) if loaded else None,
        "end_mb": found.end_mb,
        "requests": log.requests,
        "failures": log.failures,
        "oom_kills": None,
        "wall_s": round(found.load_end - found.load_start, 2),
        "small_p50_ms": log.small_p50_ms,
        "small_p99_ms": log.small_p99_ms,
        "small_max_ms": log.small_max_ms,
        "large_p50_ms": log.large_p50_ms,
        "recycles": dict.fromkeys(("requests", "rss", "lifetime", "died", "idle", "signal")),
        "locust_report": f"locust-{NAME}.html",
    }


def verdict(row: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """What can be asked of a deployment of which only the outside is known.

    Memory may end at more than in the experiment, where every variant is started anew and nobody else sends anything.
    """
    checks = [
        summary.check("failed requests", row["failures"], 0),
        summary.check("requests of the list that were not sent", scenario.requests - row["requests"], 0),
        summary.check("end over idle", row["end_mb"] / row["idle_mb"], words.ROSE),
    ]
    return {"holds": all(each["holds"] for each in checks), "checks": checks}


def write(directory: Path, found: Measured, head: dict[str, Any], site: str, name: str, seed: int) -> dict[str, Any]:
    """The files of a result, but for the pictures and the report; returns the summary."""
    scenario, source = scenarios.named(name), found.watch.source
    body = scenarios.feed(scenario, seed, STATE).stat().st_size
    of = row(found, site)
    outcome = {
        "schema": 1,
        "runtime": NAME,
        "memory": source.kind,
        "environment": dict.fromkeys(("cpus", "memory_mb", "python", "uwsgi", "django", "libc")),
        **head,
        "load": {
            "seed": seed,
            "workers": None,
            "requests": scenario.requests,
            "large_requests": scenario.large,
            "large_body_mb": round(body / 2**20, 1),
        },
        "floor_mb": None,
        "variants": [of],
        "verdict": verdict(of, scenario),
    }
    (directory / "summary.json").write_text(json.dumps(outcome, indent=1) + "\n")
    with (directory / "samples.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["variant", "t_s", "pss_mb", "working_set_mb", "requests", "workers"])
        for moment, memory_mb in found.watch.figures:
            memory = [f"{memory_mb:.1f}", ""] if source.kind == "PSS" else ["", f"{memory_mb:.1f}"]
            served = bisect.bisect(found.answered, moment)
            out.writerow([NAME, round(moment - found.load_start, 2), *memory, served, ""])
    with (directory / "events.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["variant", "t_s", "event", "worker", "detail"],
                [NAME, 0.0, "load-start", "", ""],
                [NAME, of["wall_s"], "load-end", "", ""],
            ]
        )
    return outcome


def run(
    host: str, memory_from: str | None, owned: bool, name: str, seed: int, results: Path, say: Say
) -> tuple[Path, dict[str, Any]]:
    """Measure the deployment at `host`; the folder of its files, and its summary.

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
    check_site(site, scenario, seed)
    started = datetime.now(UTC).replace(microsecond=0)
    directory = results / started.strftime("%Y%m%d-%H%M%S")
    directory.mkdir(parents=True)
    found = measured(site, source, name, seed, directory, say)
    head = {"scenario": name, "started": started.isoformat()}
    outcome = write(directory, found, head, site, name, seed)
    report.write(directory)
    return directory, outcome
