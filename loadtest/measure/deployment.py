"""A deployment that runs already, measured from outside.

The phases are those of a variant (`loadtest.measure.phases`), but nothing is started, configured or stopped, and who
else uses the deployment meanwhile is not known here. Memory is read from where the deployment shows it
(`loadtest.measure.remote`). Figures that need a look into its container stay empty: workers, recycles and OOM kills.
"""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from loadtest.load import requests_log, scenarios
from loadtest.load.requests_log import Latencies
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure, client, outcome, remote, sampling, site
from loadtest.measure.outcome import Run
from loadtest.measure.phases import Say
from loadtest.measure.sampling import Sample
from loadtest.measure.variants import Variant
from lowtide import application
from lowtide.application import Call

NAME = "deployment"
# Memory at rest is the median of this many figures, the newest of the phase.
NEWEST = 3
_TIMEOUT_S = 30


@dataclass
class Watch:
    """Reads memory in a thread of its own until it is closed. A figure that cannot be read leaves a gap."""

    source: remote.Source
    samples: list[Sample] = field(default_factory=list)
    problem: str = "there was none yet"

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while not self._over.is_set():
            try:
                moment, memory_mb = self.source.read()
                if not self.samples or moment > self.samples[-1].time:
                    mib = round(float(memory_mb), 1)
                    self.samples.append(Sample(moment, mib) if self.source.kind == "PSS" else Sample(moment, None, mib))
            except remote.Unreadable as problem:
                self.problem = str(problem)
            self._over.wait(self.source.every_s)

    def close(self) -> None:
        self._over.set()
        self._reader.join(_TIMEOUT_S)

    def at_rest(self, start: float, end: float) -> float:
        """Median of the newest figures of a phase, MiB.

        Raises:
            CannotMeasure: there is none.
        """
        newest = [sample.memory_mb for sample in self.samples if start <= sample.time <= end][-NEWEST:]
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


def check_site(address: str, scenario: Scenario, seed: int) -> None:
    """Send one small request of each kind, and those of [[preload]] in lowtide.toml that need a token.

    Raises:
        CannotMeasure: the site would not serve the list; the message says why.
    """
    site.log_in(address)
    kinds = {asked.row.name: asked for asked in scenarios.requests(scenario, "small", seed)}
    for asked in kinds.values():
        answer = first_answer(address + asked.path, asked.call)
        if answer.status_code != asked.call.status:
            commands = " and ".join(f"manage.py {command}" for command in scenarios.seed_commands(scenario, seed))
            raise CannotMeasure(
                f"{address}{asked.path} answered {answer.status_code}. The list asks for what its data holds: "
                f"was it filled ({commands or 'lowtide.toml names no command for it'})?"
            )
    for call in scenarios.described().preload:
        names = application.variables(call)
        if names and (status := first_answer(address + call.path, call).status_code) in (401, 403):
            wanted = " and ".join(f"{name}=..." for name in names)
            url = address + call.path
            raise CannotMeasure(f"{url} answered {status}: it needs {wanted} in the environment of make.")


def first_answer(url: str, call: Call) -> requests.Response:
    """The answer to a request.

    Raises:
        CannotMeasure: there is none, or it is a redirect that was not expected.
    """
    headers = application.headers(call, os.environ)
    try:
        answer = requests.request(
            call.method, url, data=call.body, headers=headers, timeout=_TIMEOUT_S, allow_redirects=False
        )
    except requests.RequestException as error:
        raise CannotMeasure(f"{url} does not answer: {error}") from None
    if answer.is_redirect and answer.status_code != call.status:
        raise CannotMeasure(f"{url} only leads to {answer.headers['Location']}: give the address that answers as HOST.")
    return answer


def measured(address: str, source: remote.Source, name: str, seed: int, directory: Path, say: Say) -> Run:
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
            say(f"load    {source.kind} {watch.samples[-1].memory_mb:>6.0f} MiB")

        client.run(address, Variant(NAME, address, {}), name, seed, directory, tick)
        log = directory / f"requests-{NAME}.csv"
        latencies, answered = requests_log.read(log), requests_log.ends(log)
        load_end = time.time()
        say("quiet")
        site.quiet(address, max(scenario.quiet_s, source.settle_s))
        end_mb = watch.at_rest(load_end, time.time())
    return run_of(address, watch, latencies, answered, (load_start, load_end), idle_mb, end_mb)


def run_of(
    address: str,
    watch: Watch,
    latencies: Latencies,
    answered: list[float],
    load: tuple[float, float],
    idle_mb: float,
    end_mb: float,
) -> Run:
    """The run, without the figures that cannot be seen from outside."""
    return outcome.run(
        NAME,
        sampling.counted(watch.samples, answered),
        [],
        latencies,
        load,
        label=address,
        idle_mb=idle_mb,
        end_mb=end_mb,
        oom_kills=None,
        recycles=outcome.UNKNOWN,
    )
