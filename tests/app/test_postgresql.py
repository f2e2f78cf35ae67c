"""All tests of the application once more, on a real PostgreSQL server."""

import os
import re
import subprocess
import sys
from contextlib import nullcontext

import pytest

from tests.container.stack import container_of_postgresql
from tests.machine import CHECKOUT, free_port
from tests.postgresql import postgresql

pytestmark = pytest.mark.slow


def run(tests: str, *words: str, timeout: float, **variables: str) -> str:
    """Run tests in one process, which names each file that it ran; what it printed. They must pass."""
    command = [sys.executable, "-m", "pytest", tests, "-p", "no:cacheprovider", "--durations=3", "-n", "0", *words]
    dropped = re.compile("DJANGO_SETTINGS_MODULE|.*XDIST.*")
    environment = {name: value for name, value in os.environ.items() if not dropped.fullmatch(name)}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment | variables, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-20000:]
    return done.stdout


def test_all_tests_pass_on_postgresql() -> None:
    with postgresql() as url:
        assert "test_server_side_cursors.py" in run("tests/app", timeout=240, TESTS_DATABASE_URL=url)


@pytest.mark.container
@pytest.mark.usefixtures("engine")
def test_a_search_uses_its_index() -> None:
    """In Compose's PostgreSQL, because the wheel's has no pg_trgm and goes without the index."""
    port = free_port()
    with container_of_postgresql(f"127.0.0.1:{port}", "--env=POSTGRES_PASSWORD=of-the-test"):
        url = f"postgres://postgres:of-the-test@127.0.0.1:{port}/postgres"
        assert "search_index.py" in run("tests/app/search_index.py", timeout=120, TESTS_DATABASE_URL=url)


@pytest.mark.night
@pytest.mark.timeout(7500)
@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_ten_thousand_requests_of_each_kind(database: str) -> None:
    """The whole of test_fuzz.py, on either database. `-rP` shows how many requests were answered with which status."""
    with postgresql() if database == "PostgreSQL" else nullcontext() as url:
        chosen = {"TESTS_DATABASE_URL": url} if url else {}
        said = run("tests/app/test_fuzz.py", "-s", timeout=7200, FUZZ_CASES="10000", **chosen)
    print("\n".join(re.findall(r"\d+ requests, answered .*|\d+ again and again.*", said)))
