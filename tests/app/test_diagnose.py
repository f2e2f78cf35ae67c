"""`manage.py diagnose` in the sample project."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import described
from tests.machine import CHECKOUT

pytestmark = pytest.mark.slow


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in described.VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("variables")
def test_django_finds_the_view_and_the_application(tmp_path: Path) -> None:
    headers = [f"--header={name}:{value}" for name, value in described.headers(described.large()).items()]
    command = [
        sys.executable,
        str(CHECKOUT / "app/manage.py"),
        "diagnose",
        "--format",
        "json",
        "--picture",
        "",
    ]
    done = subprocess.run(
        [*command, "--view", "catalog:import", "--times", "10", *headers],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A GET of a view that takes POST only: no database is needed, and the answer says that the view was reached.
    assert json.loads(done.stdout)["evidence"]["statuses"] == {"405 Method Not Allowed": 15}
