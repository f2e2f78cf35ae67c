"""A real application from the package index, adopted as docs/adopt.md says, answers its page and a large request."""

import json
import subprocess
from pathlib import Path

import pytest
import requests

from tests.machine import free_port, with_package_index
from tests.planted import append, checkout
from tests.stack.edge import wait_until

pytestmark = [pytest.mark.stack, pytest.mark.night]

MANAGE = """
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pretalx.settings")
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""
# With what its command create_test_event needs.
REQUIREMENTS = "pretalx==2025.2.2\nFaker\nfreezegun\n"
LARGE = "/democon/schedule/export/schedule.json"
VARIABLES = {
    "PRETALX_SITE_URL": "http://127.0.0.1",
    "DJANGO_SUPERUSER_EMAIL": "chair@example.com",
    "DJANGO_SUPERUSER_PASSWORD": "of-the-test-7",
    "PRETALX_INIT_ORGANISER_NAME": "The Organiser",
    "PRETALX_INIT_ORGANISER_SLUG": "organiser",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "conference"
    folder.mkdir()
    (folder / "manage.py").write_text(MANAGE)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    return folder


@pytest.mark.timeout(2400)
def test_pretalx(project: Path, short: Path, tmp_path: Path) -> None:
    copy, port = checkout(tmp_path), free_port()
    environment = with_package_index() | {"RUNTIME": "local", "PORT": str(port), "VAR_DIR": str(short), "HTTPS": "off"}
    environment |= VARIABLES | {"PRETALX_DATA_DIR": str(short / "data")}

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run("git", "init", "--quiet")
    run("git", "add", "--all")
    run("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", "first")
    assert "settings      pretalx.settings" in run("make", "adopt", f"PROJECT={project}")
    description = copy / "app/lowtide.toml"
    text = description.read_text()
    assert "large = []" in text
    description.write_text(text.replace("large = []", f'large = ["{LARGE}"]'))
    for name in (*VARIABLES, "PRETALX_DATA_DIR"):
        append(description, f'\n[variables.{name}]\nabout = "For pretalx."\n')
    assert "Its page / answers 200." in run("make", "up")
    try:
        run("make", "manage", "ARGS=init --noinput")
        run("make", "manage", "ARGS=create_test_event")
        answer = requests.get(f"http://127.0.0.1:{port}{LARGE}", timeout=60)
        assert answer.status_code == 200
        assert answer.json()["schedule"]["conference"]["days"]
        log = short / "log/access.log"
        wait_until("nginx has logged it", lambda: LARGE in log.read_text())
        (line,) = [line for line in log.read_text().splitlines() if LARGE in line]
        assert json.loads(line)["pool"] == "large"
    finally:
        run("make", "down")
