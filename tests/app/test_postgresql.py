"""All tests of the application once more, on a real PostgreSQL server."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.app.postgresql import postgresql

CHECKOUT = Path(__file__).resolve().parents[2]


def test_all_tests_pass_on_postgresql() -> None:
    # In one process, which names each file that it ran.
    command = [sys.executable, "-m", "pytest", "tests/app", "-p", "no:cacheprovider", "--durations=3", "-n", "0"]
    dropped = re.compile("DJANGO_SETTINGS_MODULE|.*XDIST.*")
    environment = {name: value for name, value in os.environ.items() if not dropped.fullmatch(name)}
    with postgresql() as url:
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=environment | {"TESTS_DATABASE_URL": url},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_server_side_cursors.py" in done.stdout
