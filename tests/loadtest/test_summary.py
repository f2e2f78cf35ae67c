"""Figures from measurements: percentiles, the integral behind the floor, the verdict and how it can fail."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtest.load import requests_log
from loadtest.measure import needs
from loadtest.measure import recycles as recycles_of_a_log
from loadtest.measure.sampling import Sample
from loadtest.results import verdict
from loadtest.results.types import Need, Recycles, Variant
from lowtide import recycles

from .conftest import row, write_log


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_percentiles_are_nearest_ranks(share: float, value: float) -> None:
    assert requests_log.percentile([float(n) for n in range(100, 0, -1)], share) == value


def test_nothing_has_no_percentile() -> None:
    assert requests_log.percentile([], 0.5) is None


def test_the_log_of_requests_is_split_into_lanes(tmp_path: Path) -> None:
    log = tmp_path / "requests.csv"
    write_log(
        log,
        row(response_time_ms=2.0),
        row(response_time_ms=4.0, status_code=503, exception="CatchResponseError('answered 503 instead of 200')"),
        # A status that was expected is no failure.
        row(response_time_ms=3.0, status_code=403),
        row(response_time_ms=300.5, name="large: import"),
        row(response_time_ms=0.0, name="large: import", status_code=0, exception="ConnectionError()"),
    )
    latencies = requests_log.read(log)
    assert (latencies.requests, latencies.failures, latencies.pushed_back) == (5, 2, 0)
    assert (latencies.small_p50_ms, latencies.small_max_ms, latencies.large_p50_ms) == (3.0, 4.0, 0.0)
    assert (latencies.small_due_p50_ms, latencies.small_due_max_ms) == (3.0, 4.0)


def test_latency_from_when_a_request_was_due(tmp_path: Path) -> None:
    log = tmp_path / "requests.csv"
    late = row(due=10.0, pushed_back=1, sent=11.5, response_time_ms=500.0)
    write_log(log, row(), late, row(due=9.0, sent=10.0, response_time_ms=1000.0, name="large: import"))
    latencies = requests_log.read(log)
    assert latencies.pushed_back == 1
    assert (latencies.small_max_ms, latencies.small_due_max_ms, latencies.small_due_p99_ms) == (500.0, 2000.0, 2000.0)
    assert (latencies.large_p50_ms, latencies.large_due_p50_ms) == (1000.0, 2000.0)


def test_large_requests_a_second_are_those_that_were_answered(tmp_path: Path) -> None:
    log = tmp_path / "requests.csv"
    write_log(log, row(sent=1.0), row(sent=90.0))
    assert requests_log.read(log).large_per_s is None
    # Two at once, from 10 s to 14 s; the third failed.
    times = ((10.0, 3000.0, ""), (11.0, 3000.0, ""), (13.0, 500.0, "answered 503"))
    large = [row(sent=sent, response_time_ms=ms, exception=error, name="large: import") for sent, ms, error in times]
    write_log(log, row(sent=1.0), *large, row(sent=90.0))
    assert requests_log.read(log).large_per_s == 0.5


def sample(time: float, pss_mb: float) -> Sample:
    return Sample(time, pss_mb, None, None, 0, 4)


def test_need_is_the_area_above_idle_while_the_request_runs() -> None:
    """A triangle: from idle 100 to 200 and back within 2 s, and samples outside that do not count."""
    samples = [sample(t, mb) for t, mb in ((9, 500), (10, 100), (11, 200), (12, 100), (13, 500))]
    assert needs.need(samples, 100, 10, 12) == Need(mib_s=100, peak_mb=100, seconds=2)


def test_what_falls_below_idle_is_not_negative() -> None:
    assert needs.need([sample(10, 50), sample(11, 50)], 100, 10, 11).mib_s == 0


def test_the_floor_is_idle_and_every_large_requests_need_over_the_time() -> None:
    alone = {"import": Need(30, 90, 0.4), "report": Need(110, 150, 1.8)}
    assert needs.floor_mb(100, 60, alone, Counter({"import": 50, "report": 10})) == 143.3


def variants(**changes: Any) -> list[Variant]:
    base: dict[str, Any] = dict.fromkeys(("mean_mb", "small_p50_ms", "small_p99_ms", "small_max_ms", "large_p50_ms"))
    base |= {"requests": 6000, "server_requests": 6000, "failures": 0, "oom_kills": 0, "wall_s": 60.0}
    base |= {"idle_mb": 80, "recycles": Recycles(0, 0, 0, 0)}
    figures = {
        "without": base | {"peak_mb": 700, "end_mb": 700},
        "lowtide": base | {"peak_mb": 240, "end_mb": 90},
    }
    for key, value in changes.items():
        name, _, figure = key.partition("__")
        figures[name][figure] = value
    return [Variant(name=name, **of_variant) for name, of_variant in figures.items()]


def test_the_verdict_holds() -> None:
    assert verdict.experiment(variants(), "local", inflates=True).holds


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"without__end_mb": 239}, "without: end over idle, the inflation"),
        ({"lowtide__end_mb": 101}, "lowtide: end over idle"),
        ({"lowtide__peak_mb": 421}, "lowtide: peak over the peak of without"),
        ({"lowtide__failures": 1}, "lowtide: failed requests"),
        ({"lowtide__oom_kills": 1}, "lowtide: OOM kills"),
        ({"lowtide__server_requests": 5999}, "lowtide: requests that only one of server and client counted"),
    ],
)
def test_the_verdict_fails_for_one_thing_at_a_time(change: dict[str, Any], failing: str) -> None:
    judged = verdict.experiment(variants(**change), "local", inflates=True)
    assert not judged.holds
    assert [check.name for check in judged.checks if not check.holds] == [failing]


def test_an_inflation_is_asked_of_the_load_that_promises_one() -> None:
    """The same run, whose `without` stays low: what is left are the checks that every application can pass."""
    rows = variants(without__end_mb=100, without__peak_mb=250)
    assert not verdict.experiment(rows, "local", inflates=True).holds
    judged = verdict.experiment(rows, "local", inflates=False)
    assert judged.holds
    assert {"lowtide: end over idle", "lowtide: failed requests", "lowtide: OOM kills"} <= {
        check.name for check in judged.checks
    }
    assert not verdict.experiment(variants(lowtide__end_mb=101), "local", inflates=False).holds


def test_health_checks_of_containers_are_allowed_for() -> None:
    changed = {"without__server_requests": 6024, "lowtide__server_requests": 6024}
    assert verdict.experiment(variants(**changed), "docker", inflates=True).holds
    assert not verdict.experiment(variants(**changed), "local", inflates=True).holds


def test_recycles_are_read_from_the_log() -> None:
    one, other = (
        recycles.Recycle(time=9.0, worker=1, pid=5, reason="rss", age_s=1, requests=3, rss_mb=200),
        recycles.Recycle(time=11.0, worker=2, pid=6, reason="died", age_s=1, requests=None, rss_mb=None),
    )
    lines = ["Respawned uWSGI worker 2 (new pid: 7)", one.line(), other.line()]
    events = recycles_of_a_log.of_uwsgi(lines, since=10)
    assert [(event.time, event.event, event.worker) for event in events] == [(11.0, "died", 2)]
