"""The versions of what serves, which the experiment asks for."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import django


def test_versions_of_what_serves() -> None:
    command = [sys.executable, "-m", "lowtide.versions"]
    environment = {"PATH": str(Path(sys.executable).parent)}
    said = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert set(said) == {"python", "uwsgi", "django", "libc"}
    assert (said["python"], said["django"]) == (platform.python_version(), django.__version__)
    assert said["uwsgi"].startswith("2.")


def test_what_is_not_here_has_no_version() -> None:
    command = [sys.executable, "-m", "lowtide.versions"]
    said = json.loads(subprocess.run(command, env={"PATH": ""}, capture_output=True, check=True).stdout)
    assert said["uwsgi"] is None
