"""One variant from a fresh start to the end of its quiet phase.

Phases: warm-up (every worker has served every kind of small request), idle, load (Locust works off the list), quiet.
Times are Unix seconds of one clock: sampler, Locust and the log of recycles run on the same machine.
"""

import time
from collections.abc import Callable
from pathlib import Path

from loadtest.load import requests_log, scenarios
from loadtest.measure import client, outcome, recycles, routes, sampling, servers, site
from loadtest.measure.outcome import Run
from loadtest.measure.runtimes import Runtime, configuration
from loadtest.measure.sampling import INTERVAL_S
from loadtest.measure.variants import Variant

IDLE_S = 3.0
Say = Callable[[str], None]


def variant(
    runtime: Runtime,
    variant: Variant,
    scenario_name: str,
    seed: int,
    directory: Path,
    say: Say,
    uwsgi: str | None = None,
) -> Run:
    """Measure one variant on a stack that is started for it and stopped after it.

    The server's configuration and Locust's files go to `directory`; `uwsgi` is uWSGI's version, for the summary.
    """
    scenario = scenarios.named(scenario_name)
    say("starting")
    try:
        runtime.start(servers.environment(variant, runtime.name))
        counts = variant.server == "uwsgi"
        pid = None if counts else runtime.server_pid()
        if variant.preload:
            servers.check_preloaded(variant.preload, runtime.server_pid(), runtime.run)
        server = servers.described(variant, uwsgi, runtime.run) if uwsgi else None
        if counts:
            (directory / f"config-{variant.name}.ini").write_text(configuration(runtime))
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
                say(f"load    {done:>6} of {scenario.requests} requests   PSS {now.memory_mb:>6.0f} MiB")

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
        return outcome.run(
            variant.name,
            sampler.samples if counts else sampling.counted(sampler.samples, requests_log.ends(request_log)),
            replaced,
            log,
            (load_start, load_end),
            label=variant.label,
            source=variant.source or None,
            server=server,
            idle_mb=sampling.median_mb(sampler.between(idle_start, load_start)),
            worker_rss_mb=worker_rss_mb,
            end_mb=sampling.median_mb(sampler.between(quiet_end - 2.5, quiet_end)),
            server_requests=None if after.requests is None else after.requests - (before.requests or 0),
            oom_kills=(sampler.samples[-1].oom_kills or 0) - (before.oom_kills or 0),
            recycles=outcome.recycles(replaced),
            peak_request=routes.of_peak(lines, sampler.samples, load_start),
            routes=routes.ledger(runtime) if counts else [],
        )
    finally:
        runtime.stop()
