"""What an ideal server would need: idle memory, and what each kind of large request alone adds to a fresh worker."""

import itertools
import time
from collections import Counter

from loadtest.load import scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import sampling, site
from loadtest.measure.phases import IDLE_S, Say
from loadtest.measure.runtimes import STATE, Runtime
from loadtest.measure.sampling import Sample
from loadtest.measure.variants import Variant
from loadtest.results.types import Need

# How often to look at the memory, in seconds: what one request adds is there for less than a second.
FLOOR_INTERVAL_S = 0.02


def need(samples: list[Sample], idle_mb: float, start: float, end: float) -> Need:
    """Integrate (by trapezoids) the memory above `idle_mb` between two times."""
    inside = [sample for sample in samples if start <= sample.time <= end]
    points = [(start, 0.0), *((sample.time, max(0.0, sample.memory_mb - idle_mb)) for sample in inside)]
    points.append((end, points[-1][1]))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))
    return Need(round(area, 2), round(max(height for _, height in points), 1), round(end - start, 3))


def floor_mb(idle_mb: float, seconds: float, needs: dict[str, Need], counts: Counter[str]) -> float:
    """What an ideal server would average over `seconds`: idle memory, and each large request's need while it runs."""
    return round(idle_mb + sum(counts[name] * need.mib_s for name, need in needs.items()) / seconds, 1)


def idle(runtime: Runtime, variant: Variant, scenario: Scenario) -> tuple[float, float]:
    """PSS of a server that has served only small requests, and RSS of its largest worker, MiB."""
    runtime.start(variant.environment)
    try:
        site.warm_up(runtime.url, scenario)
        with sampling.sampling(runtime, sampling.INTERVAL_S) as sampler:
            time.sleep(IDLE_S)
            return sampling.median_mb(sampler.samples), sampling.idle_rss_mb(runtime)
    finally:
        runtime.stop()


def measure(runtime: Runtime, base: Variant, scenario: Scenario, seed: int, say: Say, rounds: int) -> dict[str, Need]:
    """The need of each kind of large request: the median of `rounds` requests, each sent alone to a fresh worker."""
    kinds = {asked.name: asked for asked in scenarios.requests(scenario, "large", seed)}
    bodies = {name: scenarios.body(asked.call, scenario, seed, STATE, asked.size) for name, asked in kinds.items()}
    runs: dict[str, list[Need]] = {name: [] for name in kinds}
    say("starting")
    runtime.start(base.environment)
    try:
        with sampling.sampling(runtime, FLOOR_INTERVAL_S) as sampler:
            for _ in range(rounds):
                for name, asked in kinds.items():
                    say(f"{name}, alone")
                    site.warm_up(runtime.url, scenario, 60)
                    time.sleep(1)
                    idle_mb = sampling.median_mb(sampler.between(time.time() - 0.7, time.time()))
                    start = time.time()
                    site.ask(runtime.url, asked.call, asked.path, bodies[name])
                    end = time.time()
                    time.sleep(0.1)
                    runs[name].append(need(sampler.samples, idle_mb, start, end))
                    sampling.fresh_workers(runtime, sampler)
    finally:
        runtime.stop()
    return {name: sorted(of_kind, key=lambda need: need.mib_s)[len(of_kind) // 2] for name, of_kind in runs.items()}
