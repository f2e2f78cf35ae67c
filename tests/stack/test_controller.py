"""Small parts of the controller: .env, and which variables of the shell reach a stack under test."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stack import Failed, own, write_env
from stack.__main__ import process_ids
from stack.local import Local
from tests.machine import CHECKOUT


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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["kill", "abc"], "kill abc: give ids of processes, whole numbers from 1."),
        (["kill", "999999999"], "999999999 cannot be killed: No such process."),
        (["kill", "9" * 30], "cannot be killed: No such process."),
        (["run", "no-such-command"], "no-such-command cannot be run: No such file or directory."),
        (["run", "/"], "/ cannot be run: Permission denied."),
        (["--env-file", "no-such-file", "down"], "no-such-file cannot be read: No such file or directory."),
        (["--env-file", "/", "down"], "/ cannot be read: Is a directory."),
        (["--env-file", "/dev/null", "down"], "BIND is not set: write it into /dev/null, as .env.example does."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words: list[str], says: str, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "VAR_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "stack", *words], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["0", "-1", "+1", "1.5", ""])
def test_a_kill_reaches_no_groups_of_processes(word: str) -> None:
    with pytest.raises(Failed, match=rf"kill {re.escape(word)}: give ids of processes"):
        process_ids(["1", word])


def test_workers_are_judged_though_the_statistics_come_a_moment_after_the_site(tmp_path: Path) -> None:
    own_rss = {"pid": os.getpid(), "status": "idle", "requests": 1}
    answer = json.dumps({"pid": os.getpid(), "workers": [own_rss]}).encode()

    def serve() -> None:
        time.sleep(0.3)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(tmp_path / "stats.sock"))
            listening.listen()
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)

    variables = {"RUN_DIR": str(tmp_path), "SERVER_COMMAND": "uwsgi --ini uwsgi.ini", "RELOAD_ON_RSS": "1"}
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(serve)
        assert "MiB and RELOAD_ON_RSS is 1, so workers are replaced too often" in Local(variables).too_low()
        serving.result(10)
