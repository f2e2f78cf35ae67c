"""The environment of all tests: what any program needs, and nothing of the shell that could name somebody's data.

Also says which tests run side by side, and which `make test FAST=1` leaves out.
"""

import gc
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.conf import settings

from stack import own
from tests import described

# A process of pytest-xdist inherits DJANGO_SETTINGS_MODULE from this file, as the first process has run it.
if settings.configured and "PYTEST_XDIST_WORKER" not in os.environ:
    # pytest-django reads the settings before this file can choose the database.
    pytest.exit("The shell names DJANGO_SETTINGS_MODULE, and so the tests' database: unset it.", 2)

# Variables by which the tests themselves are told something.
TOLD = re.compile(r"CI|FAST|FUZZ_CASES|(PYTEST|PYTHON|PIP|COVERAGE|DIAGNOSE)\w*|VIRTUAL_ENV|TESTS_DATABASE_URL")
for name in set(os.environ):
    if not own.MACHINE.fullmatch(name) and not TOLD.fullmatch(name):
        del os.environ[name]
os.environ["SECRET_KEY"] = "for-tests-only-" + "0123456789abcdefghijklmnopqrstuvwxyz"
# The application's variables, and its settings as the stack loads them.
os.environ |= described.VARIABLES | described.APPLICATION.environment
os.environ.setdefault("DJANGO_SETTINGS_MODULE", described.APPLICATION.own_settings)
described.APPLICATION.importable()
# Nothing is ever written to this file, because pytest-django keeps the tables of the tests in memory.
elsewhere = f"sqlite:///{tempfile.gettempdir()}/lowtide-tests.sqlite3"
os.environ["DATABASE_URL"] = os.environ.get("TESTS_DATABASE_URL", elsewhere)
django.setup()

TESTS = Path(__file__).parent


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for unix sockets below it."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        yield Path(folder)


def group(item: pytest.Item) -> str | None:
    """The tests of a group run in one process, one after the other. None: this test runs wherever a process is free."""
    fixtures = getattr(item, "fixturenames", ())
    folder, *rest = item.path.relative_to(TESTS).parts
    if "stack" in fixtures:
        return f"the running stack of tests/{folder}"
    if "diagnoses" in fixtures:
        return "the truth table of diagnose"
    # Each of the others in tests/stack starts servers of its own.
    return None if item.get_closest_marker("stack") else "/".join((folder, *rest))


def turn(item: pytest.Item) -> int:
    """What takes longest begins first, so that all processes end at about the same time."""
    if item.get_closest_marker("container"):
        return 0
    if "diagnoses" in getattr(item, "fixturenames", ()):
        return 1
    if item.get_closest_marker("stack"):
        return 2
    return 3 if item.get_closest_marker("slow") else 4


# Before pytest-xdist's hook, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=turn)
    for item in items:
        if name := group(item):
            item.add_marker(pytest.mark.xdist_group(name))
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("stack", "container", "deploy") and not item.get_closest_marker("smoke"):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    # The tests stay until the end, so no garbage collection needs to look at all their objects again.
    gc.collect()
    gc.freeze()
