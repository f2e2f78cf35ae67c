"""Copies of the checkout for tests to change, and a database of a user that no command may touch."""

import functools
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.machine import CHECKOUT

# Adds a user, in SQLite and in PostgreSQL.
ADD_ADA = (
    "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name, "
    "email, date_joined) VALUES ('ada', '!', true, true, true, 'Ada', '', 'ada@example.com', '2020-01-31')"
)
COPIED = ("app", "loadtest", "lowtide", "nginx", "requirements", "stack")


def checkout(folder: Path) -> Path:
    """A copy of this checkout without the files that were made in it. make uses the tools of this checkout there.

    What Python has compiled comes along: it knows the size and the time of each source, so a changed one is compiled.
    """
    copy = folder / "checkout"
    for name in COPIED:
        shutil.copytree(CHECKOUT / name, copy / name)
    for path in CHECKOUT.iterdir():
        if path.is_file() and path.name not in (".env", ".git"):
            shutil.copy2(path, copy)
    return copy


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def manage(project: Path, database_url: str, *words: str) -> None:
    """Run manage.py of a checkout."""
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "for-tests-only" * 4, "DATABASE_URL": database_url}
    command = [sys.executable, "-m", "lowtide.application", "manage", *words]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@functools.cache
def users_database() -> bytes:
    """A SQLite database with the application's tables and a user in it. It is made once for each process of pytest."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder) / "users.sqlite3"
        manage(CHECKOUT, f"sqlite:///{path}", "migrate", "--verbosity=0")
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(ADD_ADA)
        return path.read_bytes()
