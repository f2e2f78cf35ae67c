"""The application's further processes are kept running, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lowtide import application, processes

DESCRIPTION = """name = "shop"
wsgi = "shop.wsgi:application"
manage = "manage.py"
settings = "shop.settings"
page = "/"
live = "/healthz"
ready = "/readyz"

[processes]
worker = "python worker.py"
short = "false"
missing = "no-such-program"
"""
# Writes its id, and what it heard.
WORKER = """
import os, signal, sys, time
from pathlib import Path

def stop(*_):
    Path("heard").write_text("SIGTERM")
    sys.exit()

signal.signal(signal.SIGTERM, stop)
names = ("DJANGO_SETTINGS_MODULE", "PAY_TOKEN", "DATABASE_TIMEOUT")
Path("settings").write_text(" ".join(os.environ[name] for name in names))
Path("pid.new").write_text(str(os.getpid()))
Path("pid.new").rename("pid")
while True:
    time.sleep(0.1)
"""


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_ends_is_started_again_and_all_hear_the_stop(tmp_path: Path) -> None:
    (tmp_path / application.NAME).write_text(DESCRIPTION)
    (tmp_path / "worker.py").write_text(WORKER)
    log, pid = tmp_path / "log", tmp_path / "pid"
    (tmp_path / "secrets").write_text('{"PAY_TOKEN": "hidden"}')
    environment = os.environ | {"APP_DIR": str(tmp_path), "SECRETS_FILE": str(tmp_path / "secrets")}
    environment["DATABASE_TIMEOUT"] = "15"
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "lowtide.processes"]
    with log.open("w") as out:
        runner = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        wait_for(pid.exists)
        first = pid.read_text()
        assert processes.all_run(1, runner.pid)
        # The other two end as soon as they have started.
        wait_for(lambda: not processes.all_run(3, runner.pid))
        os.kill(int(first), signal.SIGKILL)
        wait_for(lambda: pid.read_text() != first)
    finally:
        runner.terminate()
        assert runner.wait(60) == 0
    assert (tmp_path / "heard").read_text() == "SIGTERM"
    assert (tmp_path / "settings").read_text() == "lowtide.django.adopted_settings hidden 0"
    lines = log.read_text().splitlines()
    assert "missing: no-such-program cannot be started: No such file or directory." in lines
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert {(event["event"], event["name"], event["code"]) for event in events} == {
        ("process", "worker", -signal.SIGKILL), ("process", "short", 1), ("process", "missing", 127),
    }  # fmt: skip
    # Each pause is twice the one before.
    assert [event["again_s"] for event in events if event["name"] == "missing"][:2] == [1.0, 2.0]


def test_without_processes_there_is_nothing_to_run(tmp_path: Path) -> None:
    (tmp_path / application.NAME).write_text(DESCRIPTION.partition("[processes]")[0])
    command = [sys.executable, "-m", "lowtide.processes"]
    done = subprocess.run(command, env=os.environ | {"APP_DIR": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("lowtide.toml has no [processes]: there is nothing to run.\n")
