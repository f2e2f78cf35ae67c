"""One variant from a fresh start to the end of its quiet phase, and what one large request alone needs.

Phases: warm-up (every worker has served every kind of small request), idle, load (Locust works off the list), quiet.
Times are Unix seconds of one clock: sampler, Locust and the log of recycles run on the same machine.
"""

import bisect
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import requests

from loadtest.load import requests_log, scenarios
from loadtest.load.scenarios import Request, Scenario
from loadtest.measure import servers
from loadtest.measure.runtimes import CHECKOUT, STATE, CannotMeasure, Runtime, configuration
from loadtest.measure.variants import Variant
from lowtide import memory

INTERVAL_S = 0.5
# What one request adds is over in less than a second.
FLOOR_INTERVAL_S = 0.02
IDLE_S = 3.0
LOAD_LIMIT_S = 1800
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """Memory in MiB; `requests` is uWSGI's counter, None of other servers, and so is `workers`.

    Working set and OOM kills are None outside a container.
    """

    time: float
    pss_mb: float
    working_set_mb: float | None
    oom_kills: int | None
    requests: int | None
    workers: int | None


@dataclass
class Sampler:
    """Reads the sampler's lines as they come."""

    process: subprocess.Popen[str]
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout  # noqa: S101 - for the type checker
        for line in self.process.stdout:
            cells = line.strip().split(",")
            if cells[0] == "time" or len(cells) != 6:
                continue
            self.samples.append(
                Sample(
                    float(cells[0]),
                    float(cells[1]),
                    float(cells[2]) if cells[2] else None,
                    int(cells[3]) if cells[3] else None,
                    int(cells[4]) if cells[4] else None,
                    int(cells[5]) if cells[5] else None,
                )
            )

    def close(self) -> None:
        assert self.process.stdin  # noqa: S101
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.terminate()
        self._reader.join(10)

    def last(self, wait_s: float = 10) -> Sample:
        """The newest sample, waiting for the first."""
        deadline = time.monotonic() + wait_s
        while not self.samples:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise CannotMeasure("The sampler found nothing to measure: the server does not answer, or has gone.")
            time.sleep(0.05)
        return self.samples[-1]

    def between(self, start: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if start <= sample.time <= end]


@contextmanager
def sampling(runtime: Runtime, interval_s: float, pid: int | None = None) -> Iterator[Sampler]:
    sampler = Sampler(runtime.sampler(interval_s, pid))
    try:
        yield sampler
    finally:
        sampler.close()


@dataclass(frozen=True)
class Event:
    time: float
    event: str
    worker: int | None = None
    detail: str = ""


@dataclass(frozen=True)
class Measured:
    """One variant, measured. Phase marks in Unix seconds, `idle_mb` and `end_mb` medians of PSS in MiB."""

    variant: Variant
    samples: list[Sample]
    events: list[Event]
    load_start: float
    load_end: float
    idle_mb: float
    worker_rss_mb: float
    end_mb: float
    latencies: requests_log.Latencies
    server_requests: int | None
    oom_kills: int
    configuration: str | None


def median_pss(samples: list[Sample]) -> float:
    if not samples:
        raise CannotMeasure("No sample was taken in a phase that needs one: the machine is too busy to measure.")
    return round(statistics.median(sample.pss_mb for sample in samples), 1)


def idle_rss_mb(runtime: Runtime, pid: int | None = None) -> float:
    """RSS of the largest worker in MiB, which is what reload-on-rss is compared with."""
    if pid:
        return round(max(map(memory.rss_mb, memory.tree(pid)[1:]), default=0.0), 1)
    script = (
        "import os, sys; from lowtide import sample; pids = [w['pid'] for w in sample.stats(sys.argv[1])['workers']];"
        "pages = [int(open(f'/proc/{pid}/statm').read().split()[1]) for pid in pids];"
        "print(max(pages) * os.sysconf('SC_PAGE_SIZE') / 2**20)"
    )
    return round(float(runtime.run(["python", "-c", script, runtime.stats_socket])), 1)


def ask(method: str, url: str, **options: Any) -> None:
    """A request that must succeed.

    Raises:
        CannotMeasure: it did not.
    """
    try:
        answer = requests.request(method, url, timeout=65, **options)
    except requests.RequestException as error:
        raise CannotMeasure(f"{url} does not answer: {error}") from error
    if answer.status_code != 200:
        raise CannotMeasure(f"{url} answered {answer.status_code}: {answer.text[:300]}")


def get(url: str) -> None:
    """A GET that must succeed."""
    ask("GET", url)


def warm_up(url: str, scenario: Scenario, count: int = 300) -> None:
    """Small requests for every worker; those of the large pool are reached by an export that streams."""
    small = list(scenarios.requests(scenario, "small", seed=0))[:count]
    for _ in range(3):
        get(f"{url}/catalog/export.ndjson")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: get(url + row[1]), small))


def quiet(url: str, seconds: float) -> None:
    """Two small requests a second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        get(f"{url}/catalog/")
        time.sleep(min(0.5, max(0, left)))


def locust(
    url: str, variant: Variant, scenario_name: str, seed: int, directory: Path, tick: Callable[[], None]
) -> None:
    """Work off the list; `tick` is called twice a second. Locust's report and statistics go to `directory`."""
    report = directory / f"locust-{variant.name}"
    command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", url, "--html", f"{report}.html", "--csv", str(report), "--exit-code-on-error", "0"]
    # Every user at once: the list and the rates are fixed, not the number of users that share them.
    users = str(scenarios.named(scenario_name).small_users + 1)
    command += ["--users", users, "--spawn-rate", users]
    environment = os.environ | {
        "LOWTIDE_SCENARIO": scenario_name,
        "LOWTIDE_SEED": str(seed),
        "LOWTIDE_FEEDS": str(STATE),
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


def recycle_lines(lines: list[str]) -> list[dict[str, Any]]:
    """The recycles in uWSGI's log, as lowtide.uwsgi writes them (lowtide/recycles.py has the keys)."""
    return [json.loads(line) for line in lines if line.startswith('{"event": "recycle"')]


def recycles(lines: list[str], since: float) -> list[Event]:
    """The same as marks for the picture."""
    events = []
    for end in recycle_lines(lines):
        if end["time"] >= since:
            detail = f"pid {end['pid']}, {end['age_s']:.0f} s, {end['requests']} requests, {end['rss_mb']} MiB"
            events.append(Event(end["time"], end["reason"], end["worker"], detail))
    return events


def counted(samples: list[Sample], ends: list[float]) -> list[Sample]:
    """The samples with the requests that had ended by then, for a server that does not count them itself."""
    return [replace(sample, requests=bisect.bisect_right(ends, sample.time)) for sample in samples]


def variant(runtime: Runtime, variant: Variant, scenario_name: str, seed: int, directory: Path, say: Say) -> Measured:
    """Measure one variant on a stack that is started for it and stopped after it."""
    scenario = scenarios.named(scenario_name)
    say("starting")
    try:
        runtime.start(servers.environment(variant))
        counts = variant.server == "uwsgi"
        pid = None if counts else servers.pid(runtime)
        if variant.preload:
            servers.check_preloaded(variant.preload, servers.pid(runtime))
        read_configuration = configuration(runtime) if counts else None
        request_log = directory / f"requests-{variant.name}.csv"
        warm_up(runtime.url, scenario)
        with sampling(runtime, INTERVAL_S, pid) as sampler:
            say("idle")
            sampler.last()
            idle_start = time.time()
            time.sleep(IDLE_S)
            worker_rss_mb = idle_rss_mb(runtime, pid)
            before = sampler.last()
            load_start = time.time()

            def tick() -> None:
                now = sampler.last()
                done = (now.requests - (before.requests or 0)) if now.requests else requests_log.length(request_log)
                say(f"load    {done:>6} of {scenario.requests} requests   PSS {now.pss_mb:>6.0f} MiB")

            locust(runtime.url, variant, scenario_name, seed, directory, tick)
            log = requests_log.read(request_log)
            load_end = time.time()
            time.sleep(INTERVAL_S * 1.5)
            after = sampler.last()
            say("quiet")
            quiet(runtime.url, scenario.quiet_s)
            quiet_end = time.time()
        lines = runtime.log()
        replaced = (
            recycles(lines, load_start)
            if counts
            else [Event(time, reason, None, line) for time, reason, line in servers.recycled(lines, load_start)]
        )
        events = [Event(load_start, "load-start"), *replaced, Event(load_end, "load-end")]
        kills = (sampler.samples[-1].oom_kills or 0) - (before.oom_kills or 0)
        return Measured(
            variant=variant,
            samples=sampler.samples if counts else counted(sampler.samples, requests_log.ends(request_log)),
            events=sorted(events, key=lambda event: event.time),
            load_start=load_start,
            load_end=load_end,
            idle_mb=median_pss(sampler.between(idle_start, load_start)),
            worker_rss_mb=worker_rss_mb,
            end_mb=median_pss(sampler.between(quiet_end - 2.5, quiet_end)),
            latencies=log,
            server_requests=None if after.requests is None else after.requests - (before.requests or 0),
            oom_kills=kills,
            configuration=read_configuration,
        )
    finally:
        runtime.stop()


@dataclass(frozen=True)
class Need:
    """What one large request alone adds to a fresh worker.

    Attributes:
        mib_s: integral over its time of what it adds, MiB s.
        peak_mb: the most it adds at once, MiB.
        seconds: how long it takes.
    """

    mib_s: float
    peak_mb: float
    seconds: float


def need(samples: list[Sample], idle_mb: float, start: float, end: float) -> Need:
    """Integrate (trapezoids) what stands above `idle_mb` between two times."""
    inside = [sample for sample in samples if start <= sample.time <= end]
    points = [(start, 0.0), *((sample.time, max(0.0, sample.pss_mb - idle_mb)) for sample in inside)]
    points.append((end, points[-1][1]))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return Need(round(area, 2), round(max(height for _, height in points), 1), round(end - start, 3))


def idle(runtime: Runtime, variant: Variant, scenario: Scenario) -> tuple[float, float]:
    """Of a server that has served small requests only: its PSS, and RSS of its largest worker, MiB."""
    runtime.start(variant.environment)
    try:
        warm_up(runtime.url, scenario)
        with sampling(runtime, INTERVAL_S) as sampler:
            time.sleep(IDLE_S)
            return median_pss(sampler.samples), idle_rss_mb(runtime)
    finally:
        runtime.stop()


def needs(runtime: Runtime, base: Variant, scenario: Scenario, seed: int, say: Say, rounds: int) -> dict[str, Need]:
    """Each kind of large request, alone, `rounds` times, each time in a fresh worker: the median by kind."""
    body = scenarios.feed(scenario, seed, STATE).read_bytes()
    kinds: dict[str, tuple[Request, str]] = {
        row.name: (row, path) for row, path in scenarios.requests(scenario, "large", seed)
    }
    found: dict[str, list[Need]] = {name: [] for name in kinds}
    say("starting")
    runtime.start(base.environment)
    try:
        with sampling(runtime, FLOOR_INTERVAL_S) as sampler:
            for _ in range(rounds):
                for name, (row, path) in kinds.items():
                    say(f"{name}, alone")
                    warm_up(runtime.url, scenario, 60)
                    time.sleep(1)
                    idle_mb = median_pss(sampler.between(time.time() - 0.7, time.time()))
                    start = time.time()
                    send(runtime.url + path, body if row.feed else None)
                    end = time.time()
                    time.sleep(0.1)
                    found[name].append(need(sampler.samples, idle_mb, start, end))
                    fresh_workers(runtime, sampler)
    finally:
        runtime.stop()
    return {name: sorted(each, key=lambda n: n.mib_s)[len(each) // 2] for name, each in found.items()}


def send(url: str, body: bytes | None) -> None:
    """A large request that must succeed: a POST of `body`, a GET without one."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    ask("POST" if body else "GET", url, data=body, headers=headers)


def fresh_workers(runtime: Runtime, sampler: Sampler) -> None:
    """Have every worker replaced."""
    workers = sampler.last().workers or 0
    script = "import lowtide.sample as s, sys; print(*[w['pid'] for w in s.stats(sys.argv[1])['workers']])"
    pids = runtime.run(["python", "-c", script, runtime.stats_socket]).split()
    runtime.kill_workers([int(pid) for pid in pids])
    deadline = time.monotonic() + 30
    time.sleep(1.2)
    while (sampler.last().workers or 0) < workers:
        if time.monotonic() > deadline:
            raise CannotMeasure("Workers that were killed did not come back within 30 s.")
        time.sleep(0.1)
