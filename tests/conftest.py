"""The environment of all tests: what any program needs, and nothing of the shell that could name somebody's data.

Also says which tests run side by side, and which `make test FAST=1` leaves out.
"""

import os
import re
import tempfile
from pathlib import Path

import django
import pytest
from django.conf import settings

from stack import own

# A process of pytest-xdist inherits DJANGO_SETTINGS_MODULE from this file, as the first process has run it.
if settings.configured and "PYTEST_XDIST_WORKER" not in os.environ:
    # pytest-django reads the settings before this file can choose the database.
    pytest.exit("The shell names DJANGO_SETTINGS_MODULE, and so the tests' database: unset it.", 2)

# Variables by which the tests themselves are told something.
TOLD = re.compile(r"CI|FAST|FUZZ_CASES|(PYTEST|PYTHON|COVERAGE|DIAGNOSE)\w*|VIRTUAL_ENV|TESTS_DATABASE_URL")
for name in set(os.environ):
    if not own.MACHINE.fullmatch(name) and not TOLD.fullmatch(name):
        del os.environ[name]
os.environ["SECRET_KEY"] = "for-tests-only-" + "0123456789abcdefghijklmnopqrstuvwxyz"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
# Nothing is ever written to this file, because pytest-django keeps the tables of the tests in memory.
elsewhere = f"sqlite:///{tempfile.gettempdir()}/lowtide-tests.sqlite3"
os.environ["DATABASE_URL"] = os.environ.get("TESTS_DATABASE_URL", elsewhere)
django.setup()

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take longest begin first. Those of one file, and all that share the containers, run in one process."""

    def group(item: pytest.Item) -> str:
        return "containers" if item.get_closest_marker("container") else str(item.path.relative_to(TESTS))

    def turn(item: pytest.Item) -> int:
        return 0 if item.get_closest_marker("container") else 1 if item.get_closest_marker("stack") else 2

    items.sort(key=turn)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("stack", "container", "deploy") and not item.get_closest_marker("smoke"):
            item.add_marker("slow")
