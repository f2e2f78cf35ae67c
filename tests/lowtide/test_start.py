"""The settings of the pools, checked before uWSGI could misread them."""

import subprocess
import sys

import pytest

from lowtide import memory
from lowtide.start import Unusable, check_limit, settings


def test_defaults() -> None:
    found = settings({})
    assert (found["WORKERS"], found["SMALL_WORKER_IDS"], found["LARGE_WORKER_IDS"]) == ("4", "1,2,3", "4")


def test_large_workers_come_last() -> None:
    found = settings({"WORKERS": "5", "LARGE_WORKERS": "2"})
    assert (found["SMALL_WORKER_IDS"], found["LARGE_WORKER_IDS"]) == ("1,2,3", "4,5")


@pytest.mark.parametrize("environment", [{"WORKERS": "1"}, {"LARGE_WORKERS": "0"}])
def test_one_pool(environment: dict[str, str]) -> None:
    found = settings(environment)
    assert found["LARGE_WORKERS"] == "0"
    assert found["LARGE_WORKER_IDS"] == ""


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
    ],
)
def test_what_uwsgi_would_misread_is_refused(name: str, value: str) -> None:
    with pytest.raises(Unusable, match=name):
        settings({name: value})


def test_a_limit_in_which_nothing_works_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_mb", lambda: 200.0)
    with pytest.raises(Unusable, match="Refused: the container's limit of 200 MiB"):
        check_limit(settings({}))


def test_a_limit_that_may_be_reached_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "limit_mb", lambda: 400.0)
    assert check_limit(settings({})).startswith("Warning: memory bound")
    monkeypatch.setattr(memory, "limit_mb", lambda: 1024.0)
    assert check_limit(settings({})).startswith("Memory bound")


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
