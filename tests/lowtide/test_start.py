"""The settings of the pools are checked before uWSGI reads them, because uWSGI would misread a wrong value."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowtide import memory, telemetry
from lowtide.sizing import Load
from lowtide.start import Unusable, ceilings, check_limit, settings

LOAD = Load(idle_mb=97, workers=4, worker_rss_mb=53, large_mb=192, worker_private_mb=14.5)


def test_defaults() -> None:
    checked = settings({})
    assert (checked["WORKERS"], checked["SMALL_WORKER_IDS"], checked["LARGE_WORKER_IDS"]) == ("4", "1,2,3", "4")


def test_large_workers_come_last() -> None:
    checked = settings({"WORKERS": "5", "LARGE_WORKERS": "2"})
    assert (checked["SMALL_WORKER_IDS"], checked["LARGE_WORKER_IDS"]) == ("1,2,3", "4,5")


@pytest.mark.parametrize("environment", [{"WORKERS": "1"}, {"LARGE_WORKERS": "0"}])
def test_one_pool(environment: dict[str, str]) -> None:
    checked = settings(environment)
    assert checked["LARGE_WORKERS"] == "0"
    assert checked["LARGE_WORKER_IDS"] == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("WORKERS", "4 ; four"),
        ("LARGE_WORKERS", "-1"),
        ("LARGE_WORKERS", "4"),
        ("RELOAD_ON_RSS", "128MB"),
        ("GIVE_BACK_MB", "off"),
        ("WORKER_MANAGEMENT", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("SENTRY_DSN", "https://sentry.example.com/1"),
        ("SENTRY_TRACES_SAMPLE_RATE", "10%"),
        ("SENTRY_TRACES_SAMPLE_RATE", "nan"),
        ("ADMISSION", "0"),
        ("ADMISSION", "100m"),
        ("LEARN_ROUTES", "yes"),
        ("IMMORTAL", "off"),
    ],
)
def test_what_uwsgi_would_misread_is_refused(name: str, value: str) -> None:
    with pytest.raises(Unusable, match=name):
        settings({name: value})


def test_a_report_without_its_library_or_the_ledger_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    settings(endpoint)
    with pytest.raises(Unusable, match="do not set LEDGER=0"):
        settings({**endpoint, "LEDGER": "0"})
    monkeypatch.setattr(telemetry, "find_spec", lambda _: None)
    with pytest.raises(Unusable, match=r"requirements/telemetry\.txt"):
        settings(endpoint)


def test_a_limit_in_which_nothing_works_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_mb", lambda: 200.0)
    with pytest.raises(Unusable, match="Refused: the container's limit of 200 MiB"):
        check_limit(settings({}), LOAD)


def test_a_limit_that_may_be_reached_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_mb", lambda: 400.0)
    assert check_limit(settings({}), LOAD).startswith("Warning: memory bound")
    monkeypatch.setattr(memory, "limit_mb", lambda: 1024.0)
    assert check_limit(settings({}), LOAD).startswith("Memory bound")


def test_it_becomes_the_command() -> None:
    script = "import os; print(os.environ['SMALL_WORKER_IDS'], os.getpid())"
    command = [sys.executable, "-m", "lowtide.start", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=30)
    assert out.split() == ["1,2,3", str(process.pid)]


def test_a_command_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-m", "lowtide.start", "no-such-server"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no-such-server cannot be started" in done.stderr


def test_a_start_that_is_not_checked_has_the_ceilings_of_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_mb", lambda: 275.0)
    checked = settings({})
    assert ceilings(checked | {"LARGE_NEED_MB": "0"}, LOAD) == ceilings(checked, LOAD)
    assert int(ceilings(checked, LOAD)["LARGE_CEILING_MB"]) > LOAD.need_mb


def test_where_nothing_was_measured_it_says_nothing_of_the_kind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lowtide.start", sys.executable, "-c", "print('served')"]
    text = 'name = "ab"\nwsgi = "a:b"\nmanage = "manage.py"\npage = "/"\nlive = "/l"\nready = "/r"\n'
    figures = "[measured]\nworkers = 4\nidle_mb = 700\nworker_rss_mb = 300\nlarge_mb = 50.5\n"
    for content, said in ((text, ""), (text + figures, "idle 700 + 4 workers x 0 of growth + 1 large request x 56")):
        (tmp_path / "lowtide.toml").write_text(content)
        environment = os.environ | {"APP_DIR": str(tmp_path), "LARGE_NEED_MB": ""}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.stdout == "served\n"
        assert (said in done.stderr) if said else not done.stderr
