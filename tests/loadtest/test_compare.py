"""What `make compare` adds to the experiment: its rows, rounds, other servers' logs, and streaming requests."""

from pathlib import Path

import pytest
from msgspec import structs

from loadtest.commands import progress, session
from loadtest.commands.session import turns
from loadtest.load import requests_log, scenarios
from loadtest.measure import CannotMeasure, outcome, recycles, sampling, servers
from loadtest.measure.recycles import Event
from loadtest.measure.sampling import Sample
from loadtest.measure.variants import VARIANTS, Variant
from loadtest.results import rounds, types, verdict

from .conftest import row, write_log

ROWS = """
    without article sized trim contained lowtide trim-threshold mmap-threshold jemalloc mimalloc
    gunicorn gunicorn-threads gunicorn-recycle gunicorn-pools gunicorn-lowtide granian granian-recycle granian-lowtide
    uvicorn uvicorn-lowtide streaming
""".split()  # noqa: SIM905
# Of gunicorn 27, uvicorn 0.54 and granian 2.8, with the log format of loadtest/measure/peers/granian.log.json.
LOG = """
[2026-01-31 12:00:00 +0000] [10] [INFO] Booting worker with pid: 10
[2026-01-31 12:00:01 +0000] [10] [INFO] Autorestarting worker after current request.
[2026-01-31 12:00:02 +0000] [11] [INFO] Autorestarting worker after current request.
[2026-01-31 12:00:02 +0000] [12] [WARNING] Maximum request limit of 105 exceeded. Terminating process.
[2026-01-31 12:00:03 +0000] [9] [CRITICAL] WORKER TIMEOUT (pid:12)
[2026-01-31 12:00:03 +0000] [9] [ERROR] Worker (pid:12) was sent SIGABRT!
[2026-01-31 12:00:04 +0000] [9] [ERROR] Worker (pid:13) was sent SIGKILL! Perhaps out of memory?
2026-01-31 12:00:05,000 WARNING django.request: Not Found: Autorestarting worker after current request.
[2026-01-31 13:00:06 +0100] [20] [INFO] worker-1 RSS over threshold, gracefully respawning..
[2026-01-31 12:00:06 +0000] [20] [INFO] Respawning worker-1
[2026-01-31 12:00:07 +0000] [20] [INFO] Stopping old worker-1
[2026-01-31 12:00:08 +0000] [20] [INFO] worker-2 lifetime expired, gracefully respawning..
[2026-01-31 12:00:09 +0000] [20] [ERROR] Unexpected exit from worker-3
""".splitlines()
NOON = 1769860800.0


def chosen(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name in ("VARIANTS", "RUNTIME", "QUICK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return [variant.name for variant in session.chosen_variants()]


def test_all_rows_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, VARIANTS="all") == ROWS
    assert chosen(monkeypatch) == ["without", "article", "lowtide"]
    assert chosen(monkeypatch, VARIANTS="gunicorn jemalloc gunicorn") == ["gunicorn", "jemalloc"]
    assert chosen(monkeypatch, VARIANTS="no-ledger lowtide") == ["no-ledger", "lowtide"]


def test_it_says_how_many_rows_are_left_and_how_long() -> None:
    left = progress.Left(17, scenarios.SCENARIOS["default"])
    # 150 s for each row: 120 s of load, 15 quiet, 3 idle, and 12 for starting and stopping.
    assert left.next() == "1 of 17, about 43 min left"
    assert left.next().startswith("2 of 17, about ")


@pytest.mark.parametrize(("value", "says"), [("0", "the least is 1"), ("two", "ROUNDS=two is not a whole number")])
def test_rounds_that_are_none(value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUNDS", value)
    with pytest.raises(CannotMeasure, match=says):
        session.number("ROUNDS", "1", least=1)


def test_variables_of_the_server_alone_are_not_those_of_the_stack() -> None:
    variables = servers.environment(VARIANTS["arena-max"])
    assert variables["SERVER_VARIABLES"] == "MALLOC_ARENA_MAX=2"
    assert "MALLOC_ARENA_MAX" not in variables
    assert "SERVER_COMMAND" not in variables
    assert "SERVER_VARIABLES" not in servers.environment(VARIANTS["without"])


def test_other_servers_have_one_pool_or_a_server_for_each() -> None:
    for name in ROWS[10:20]:
        variables = servers.environment(VARIANTS[name])
        pools = name == "gunicorn-pools"
        assert (variables["PROTOCOL"], variables.get("LARGE_WORKERS")) == (("uwsgi", None) if pools else ("http", "0"))
        assert f"PEER={name}" in variables["SERVER_VARIABLES"].split()


def test_what_is_not_ours_names_its_source() -> None:
    for name in ROWS[6:20]:
        assert VARIANTS[name].source.startswith("https://")


def test_recycles_are_read_from_other_servers_logs() -> None:
    events = recycles.of_another_server(LOG, NOON + 2.5)
    assert [(event.time - NOON, event.event) for event in events] == [
        (2, "requests"),
        (2, "requests"),
        (3, "hung"),
        (4, "died"),
        (6, "rss"),
        (8, "lifetime"),
        (9, "died"),
    ]
    assert events[0].detail == "pid 11: Autorestarting worker after current request."


def test_requests_of_a_server_that_does_not_count_come_from_the_client(tmp_path: Path) -> None:
    log = tmp_path / "requests.csv"
    assert requests_log.length(log) == 0
    write_log(log, *(row(sent=sent, response_time_ms=ms) for sent, ms in ((10, 500), (10.1, 100), (11, 2000))))
    assert requests_log.length(log) == 3
    assert requests_log.ends(log) == [10.2, 10.5, 13.0]
    samples = [Sample(time, 100, None, None, None, None) for time in (10, 10.3, 12, 13)]
    assert [sample.requests for sample in sampling.counted(samples, requests_log.ends(log))] == [0, 1, 2, 3]


def run_of(variant: Variant, mean_mb: float, failures: int = 0, rss: int = 0) -> types.Variant:
    """A run with ten seconds of load at this level of memory."""
    counts = variant.server == "uwsgi"
    samples = [Sample(t, mean_mb, None, None, 10 if counts else None, 4 if counts else None) for t in range(-2, 15)]
    events = [Event(5, "rss")] * rss
    return outcome.run(
        variant.name,
        samples,
        events,
        requests_log.Latencies(100, failures, 0, 1.0, 2.0, 3.0, mean_mb, 1.0, 2.0, 3.0, mean_mb),
        (0, 10),
        idle_mb=80.0,
        end_mb=90.0,
        server_requests=100 if counts else None,
        oom_kills=0,
        recycles=outcome.recycles(events),
    ).variant


def test_every_other_round_goes_backwards() -> None:
    chosen = [VARIANTS[name] for name in ("without", "article", "lowtide")]
    assert [(number, variant.name) for number, variant in turns(chosen, 3)] == [
        (1, "without"),
        (1, "article"),
        (1, "lowtide"),
        (2, "lowtide"),
        (2, "article"),
        (2, "without"),
        (3, "without"),
        (3, "article"),
        (3, "lowtide"),
    ]


def test_rounds_are_medians_with_the_single_runs_behind_them() -> None:
    runs = ((500.0, 0, 1), (300.0, 2, 4), (400.0, 0, 2))
    without, gunicorn = (
        rounds.merged([run_of(VARIANTS[name], mean_mb, failures, rss) for mean_mb, failures, rss in runs])
        for name in ("without", "gunicorn")
    )
    assert (without.mean_mb, without.large_p50_ms, without.recycles.rss) == (400.0, 400.0, 2)
    # Failures count from the worst round, because a median would hide them.
    assert without.failures == 2
    assert [single.mean_mb for single in without.rounds] == [500.0, 300.0, 400.0]
    assert gunicorn.server_requests is None
    checks = [check.name for check in verdict.experiment([without, gunicorn], "local", inflates=True).checks]
    assert [name for name in checks if "counted" in name] == [
        "without: requests that only one of server and client counted"
    ]


def test_one_round_is_as_it_was() -> None:
    single = run_of(VARIANTS["without"], 500.0)
    assert rounds.merged([single]) is single


def test_requests_that_one_round_lost_are_seen() -> None:
    row = run_of(VARIANTS["trim"], 100.0)
    lost = structs.replace(row, rounds=[row, structs.replace(row, server_requests=99)])
    assert not verdict.experiment([lost], "local", inflates=True).holds
