"""A sizing variable that is set is used, or refused in one line that says what to write."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.commands import settings
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure
from lowtide import application, defaults
from lowtide.application import Measured
from tests.loadtest.conftest import ASKED
from tests.machine import CHECKOUT

SMOKE = scenarios.named("smoke")
DESCRIBED = application.read(ASKED)
# What .env.example sets of the site alone: its address, its passwords, its place. The experiment has its own.
OF_THE_SITE = """
    SECRET_KEY POSTGRES_PASSWORD APP_DATABASE_PASSWORD HTTPS ALLOWED_HOSTS HSTS_SECONDS HSTS_INCLUDE_SUBDOMAINS
    HSTS_PRELOAD PORT BIND TRUSTED_PROXY DATABASE_URL COMPOSE_PROFILES METRICS_PORT PROMETHEUS_PORT PROCESSES_MEMORY
    OTEL_EXPORTER_OTLP_ENDPOINT SENTRY_DSN SENTRY_TRACES_SAMPLE_RATE COMPOSE_FILE
""".split()  # noqa: SIM905


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the .env.example that ships, and no variables in the shell."""
    (tmp_path / ".env.example").write_text((CHECKOUT / ".env.example").read_text())
    monkeypatch.setattr(settings, "CHECKOUT", tmp_path)
    for name in settings.NAMES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def sized(runtime: str = "local", fixed: dict[str, str] | None = None, **shell: str) -> settings.Sizing:
    os.environ.update(shell)
    try:
        return settings.sizing(SMOKE, runtime, fixed or {})
    finally:
        for name in shell:
            del os.environ[name]


def test_every_variable_of_the_stack_is_known() -> None:
    assert defaults.variables().keys() <= set(settings.NAMES)
    written = re.findall(r"(?m)^(?:# )?([A-Z_]+)=", (CHECKOUT / ".env.example").read_text())
    assert sorted(written) == sorted([*settings.NAMES, *OF_THE_SITE])


def test_the_switch_of_the_ledger_reaches_the_stack(checkout: Path) -> None:
    assert sized(LEDGER="0").environment["LEDGER"] == "0"
    (checkout / ".env").write_text("LEDGER=0\nDATABASE_TIMEOUT=3\n")
    assert sized("docker").differing == {"LEDGER": "0", "DATABASE_TIMEOUT": "3"}


def test_nothing_set_is_what_ships(checkout: Path) -> None:
    (checkout / ".env").write_text((checkout / ".env.example").read_text())
    sizing = sized()
    assert sizing.environment == {
        "WORKERS": str(defaults.WORKERS),
        "LARGE_WORKERS": str(defaults.LARGE_WORKERS),
        "MAX_BODY_MB": str(defaults.MAX_BODY_MB),
    }
    assert (sizing.differing, sizing.notes) == ({}, [])


def test_a_fork_measures_its_own_settings(checkout: Path) -> None:
    (checkout / ".env").write_text("WORKERS=8\nRELOAD_ON_RSS=200\nGIVE_BACK_MB=\nMAX_BODY_MB=64\n")
    sizing = sized(RELOAD_ON_RSS="90", LARGE_NEED_MB="150", LARGE_IN_FLIGHT="4")
    asked = {"WORKERS": "8", "RELOAD_ON_RSS": "90", "MAX_BODY_MB": "64", "LARGE_NEED_MB": "150", "LARGE_IN_FLIGHT": "4"}
    assert sizing.environment == asked | {"LARGE_WORKERS": "1"}
    assert sizing.differing == asked
    assert sizing.workers == 8


def test_a_value_that_is_used_anyway_does_not_differ(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Measured(workers=4, idle_mb=97, worker_rss_mb=53, large_mb=150)
    monkeypatch.setattr(settings, "described", lambda: replace(DESCRIBED, measured=figures))
    (checkout / ".env").write_text("LARGE_NEED_MB=165\nDATABASE_TIMEOUT=15\nWORKERS=04\n")
    assert sized("docker").differing == {}
    assert sized("docker", LARGE_NEED_MB="166", LEDGER="032").differing == {"LARGE_NEED_MB": "166"}
    # Of an application without figures nothing is known that a large request needs.
    monkeypatch.setattr(settings, "described", lambda: replace(DESCRIBED, measured=None))
    assert sized("docker").differing == {"LARGE_NEED_MB": "165"}


def test_one_worker_is_one_pool(checkout: Path) -> None:
    assert sized(WORKERS="1").environment["LARGE_WORKERS"] == "0"


def test_a_container_has_room_for_the_scenario_unless_it_is_told_how_much(checkout: Path) -> None:
    assert sized("docker").environment["APP_MEMORY"] == "1024m"
    assert "APP_MEMORY" not in sized("docker").differing
    assert sized("docker", APP_MEMORY="600m").differing == {"APP_MEMORY": "600m"}


@pytest.mark.parametrize("name", [*settings.NUMBERS, "APP_MEMORY"])
def test_a_value_that_cannot_be_used_is_named_with_what_to_write(checkout: Path, name: str) -> None:
    with pytest.raises(CannotMeasure, match=rf"^{name}=abc cannot be used: .*write [^\n]*$"):
        sized("docker", None, **{name: "abc"})
    (checkout / ".env").write_text(f"{name}=abc\n")
    with pytest.raises(CannotMeasure, match=f"^{name}=abc cannot be used: "):
        sized("docker")


@pytest.mark.parametrize(
    ("shell", "says"),
    [
        ({"WORKERS": "0"}, "WORKERS=0 cannot be used: write a whole number of at least 1."),
        ({"LARGE_IN_FLIGHT": "1000"}, "LARGE_IN_FLIGHT=1000 cannot be used: write a whole number from 1 to 999."),
        ({"WORKERS": "2", "LARGE_WORKERS": "2"}, "LARGE_WORKERS=2 of WORKERS=2 leaves none for small requests"),
        ({"MAX_BODY_MB": "16"}, "MAX_BODY_MB=16 would refuse bodies of this scenario: write at least 32."),
        ({"WORKER_MANAGEMENT": "article"}, "the variants differ in it"),
        ({"DATABASE_TIMEOUT": "3"}, "DATABASE_TIMEOUT=3 cannot be used here, because SQLite has no such limit"),
        ({"APP_MEMORY": "600m"}, "APP_MEMORY=600m cannot be used here, because only a container has a limit"),
    ],
)
def test_what_does_not_fit_is_refused(checkout: Path, shell: dict[str, str], says: str) -> None:
    with pytest.raises(CannotMeasure, match=says.replace(".", r"\.")):
        sized("local", None, **shell)


def test_what_a_command_varies_itself_is_refused_in_the_shell_and_said_of_the_file(checkout: Path) -> None:
    fixed = {"WORKERS": "because make sweep varies it"}
    with pytest.raises(CannotMeasure, match="WORKERS=8 cannot be used here, because make sweep varies it: leave it"):
        sized(fixed=fixed, WORKERS="8")
    (checkout / ".env").write_text("WORKERS=8\n")
    sizing = sized(fixed=fixed)
    assert sizing.workers == defaults.WORKERS
    assert sizing.notes == ["WORKERS=8 of .env is not used, because make sweep varies it."]
