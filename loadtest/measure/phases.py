"""One variant from a fresh start to the end of its quiet phase.

Phases: warm-up (every worker has served every kind of small request), idle, load (Locust works off the list), quiet.
Times are Unix seconds of one clock: sampler, Locust and the log of recycles run on the same machine.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.load import requests_log, scenarios
from loadtest.measure import client, recycles, sampling, servers, site
from loadtest.measure.recycles import Event
from loadtest.measure.runtimes import Runtime, configuration
from loadtest.measure.sampling import INTERVAL_S, Sample
from loadtest.measure.variants import Variant

IDLE_S = 3.0
Say = Callable[[str], None]


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
        site.warm_up(runtime.url, scenario)
        with sampling.sampling(runtime, INTERVAL_S, pid) as sampler:
            say("idle")
            sampler.last()
            idle_start = time.time()
            time.sleep(IDLE_S)
            worker_rss_mb = sampling.idle_rss_mb(runtime, pid)
            before = sampler.last()
            load_start = time.time()

            def tick() -> None:
                now = sampler.last()
                done = (now.requests - (before.requests or 0)) if now.requests else requests_log.length(request_log)
                say(f"load    {done:>6} of {scenario.requests} requests   PSS {now.pss_mb:>6.0f} MiB")

            client.run(runtime.url, variant, scenario_name, seed, directory, tick)
            log = requests_log.read(request_log)
            load_end = time.time()
            time.sleep(INTERVAL_S * 1.5)
            after = sampler.last()
            say("quiet")
            site.quiet(runtime.url, scenario.quiet_s)
            quiet_end = time.time()
        lines = runtime.log()
        replaced = (recycles.of_uwsgi if counts else recycles.of_another_server)(lines, load_start)
        events = [Event(load_start, "load-start"), *replaced, Event(load_end, "load-end")]
        kills = (sampler.samples[-1].oom_kills or 0) - (before.oom_kills or 0)
        return Measured(
            variant=variant,
            samples=sampler.samples if counts else sampling.counted(sampler.samples, requests_log.ends(request_log)),
            events=sorted(events, key=lambda event: event.time),
            load_start=load_start,
            load_end=load_end,
            idle_mb=sampling.median_pss(sampler.between(idle_start, load_start)),
            worker_rss_mb=worker_rss_mb,
            end_mb=sampling.median_pss(sampler.between(quiet_end - 2.5, quiet_end)),
            latencies=log,
            server_requests=None if after.requests is None else after.requests - (before.requests or 0),
            oom_kills=kills,
            configuration=read_configuration,
        )
    finally:
        runtime.stop()
