"""Small parts of the controller: .env, and which variables of the shell reach a stack under test."""

import re
import subprocess
import sys
from typing import Any

import pytest

from stack import own, write_env
from tests.stack.conftest import CHECKOUT


def test_every_secret_is_fresh() -> None:
    first, second = (write_env.text("SECRET_KEY=\nHTTPS=off\n", "TOKEN=abc\n") for _ in range(2))
    made = dict(re.findall(r"(?m)^(\w+)=(.*)$", first))
    assert made.keys() == {"SECRET_KEY", "HTTPS", "TOKEN"}
    assert made["HTTPS"] == "off"
    assert len(made["SECRET_KEY"]) > 50
    assert first != second


def test_a_stack_under_test_sees_what_is_allowed_and_no_more() -> None:
    shell = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "https_proxy": "http://proxy:3128",
        "DOCKER_HOST": "unix:///d",
        "HOME": "/h",
    }
    dropped = {"DATABASE_URL": "postgres://theirs", "CELERY_BROKER_URL": "redis://theirs", "EMAIL_URL": "smtp://theirs"}
    dropped |= {"AWS_ACCESS_KEY_ID": "theirs", "PGHOST": "theirs", "COMPOSE_FILE": "theirs.yml", "SECRET_KEY": "theirs"}
    given = {"LOADTEST_ENV": "FEATURE='a b' SEARCH_URL=http://127.0.0.1:1"}
    environment = own.environment(shell | dropped | given, {"DATABASE_URL": "sqlite:///own"})
    assert environment.items() >= shell.items()
    assert environment["DATABASE_URL"] == "sqlite:///own"
    assert (environment["FEATURE"], environment["SEARCH_URL"]) == ("a b", "http://127.0.0.1:1")
    assert len(environment["SECRET_KEY"]) > 50
    assert not any("theirs" in value for value in environment.values())


@pytest.mark.parametrize("words", ["FEATURE", "A=1 =2", "A='1"])
def test_what_cannot_be_handed_over_is_said(words: str) -> None:
    with pytest.raises(own.NotOwn, match="LOADTEST_ENV"):
        own.environment({"LOADTEST_ENV": words}, {})


COMPOSE: dict[str, Any] = {
    "services": {"db": {"volumes": [{"type": "volume", "source": "db"}]}},
    "volumes": {"db": {"name": "mine_db"}},
    "networks": {"data": {"name": "mine_data"}},
}


def test_a_project_of_its_own_shares_nothing() -> None:
    own.refuse_shared(COMPOSE, "mine")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"volumes": {"db": {"name": "shop"}}}, "volume db is called shop in every project"),
        ({"volumes": {"db": {"name": "mine_db", "external": True}}}, "volume db is called mine_db in every project"),
        ({"networks": {"data": {"name": "bridge", "external": True}}}, "network data"),
        (
            {"services": {"db": {"volumes": [{"type": "bind", "source": "/srv"}]}}},
            "db can write to this machine's /srv",
        ),
        ({"services": {"app": {"network_mode": "host"}}}, "app has network_mode: host"),
    ],
)
def test_what_a_compose_file_shares_is_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(own.NotOwn, match=says):
        own.refuse_shared(COMPOSE | changed, "mine")


@pytest.mark.parametrize("words", [[], ["start"], ["up", "now"], ["run"]])
def test_a_command_that_there_is_not_is_answered_with_those_that_there_are(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "stack", *words], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "python -m stack [--env-file FILE] COMMAND" in done.stderr
