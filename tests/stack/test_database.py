"""Backup and restore: what comes back is what was saved, and a restore that fails changes nothing."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from stack import Failed
from stack.database import Database, at, backup, restore
from tests.described import PAGE
from tests.postgresql import postgresql, programs
from tests.stack.conftest import Stack


class Data:
    """A database with some rows in it, and a way to look at them and to change them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.env = {"PATH": f"{programs()}:{os.environ['PATH']}"}
        self.database: Database = at(url, self.env)

    def sql(self, statement: str) -> str:
        if self.url.startswith("sqlite"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as connection, connection:
                return "\n".join("|".join(map(str, row)) for row in connection.execute(statement))
        command = ["psql", self.url, "-qAt", "--set=ON_ERROR_STOP=1", "--file=-"]
        done = subprocess.run(command, env=self.env, input=statement, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def rows(self) -> str:
        return self.sql("SELECT count(*), min(word), max(word) FROM words")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Data:
    if request.param == "sqlite":
        made = Data(f"sqlite:///{tmp_path}/db.sqlite3")
        # As the application has it: with a write-ahead log, and a worker's connection open.
        made.sql("PRAGMA journal_mode = WAL")
    else:
        made = Data(request.getfixturevalue("server"))
        made.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    made.sql("CREATE TABLE words (word TEXT)")
    values = ", ".join(f"('{os.urandom(200).hex()}')" for _ in range(400))
    made.sql("INSERT INTO words VALUES " + values)  # noqa: S608 - hexadecimal digits
    return made


def test_what_comes_back_is_what_was_saved(data: Data, tmp_path: Path) -> None:
    before = data.rows()
    file = backup(data.database, tmp_path / "backups")
    assert file.stat().st_mode & 0o077 == 0
    data.sql("DELETE FROM words WHERE word > '5'")
    data.sql("CREATE TABLE later (n INTEGER)")
    changed = data.rows()

    with pytest.raises(Failed, match="OVERWRITE=yes"):
        restore(data.database, tmp_path / "backups", file, overwrite=False)
    assert data.rows() == changed

    kept = restore(data.database, tmp_path / "backups", file, overwrite=True)
    assert data.rows() == before
    # A table that the backup does not have would be in the way of a migration.
    assert data.database.tables() == 1
    # What was there is not lost, either.
    restore(data.database, tmp_path / "again", Path(kept), overwrite=True)
    assert data.rows() == changed
    assert data.database.tables() == 2


def test_a_broken_file_changes_nothing(data: Data, tmp_path: Path) -> None:
    file = backup(data.database, tmp_path / "backups", str(tmp_path / "whole"))
    data.sql("DELETE FROM words WHERE word > '5'")
    before, whole = data.rows(), file.read_bytes()
    # The end that is cut off is longer than what PostgreSQL can do without: the mark behind the last table.
    parts = {f"cut at {share}": whole[: len(whole) * share // 100] for share in (0, 5, 50, 95)}
    parts["no database"] = b"no database" * 1000
    parts["overwritten"] = whole[: len(whole) // 2] + os.urandom(len(whole) // 2)
    for name, content in parts.items():
        broken = tmp_path / name
        broken.write_bytes(content)
        with pytest.raises(Failed):
            restore(data.database, tmp_path / name.replace(" ", "-"), broken, overwrite=True)
        assert data.rows() == before, name
    with pytest.raises(Failed, match="cannot be read: No such file"):
        restore(data.database, tmp_path, tmp_path / "missing", overwrite=True)


def test_a_restore_that_fails_half_way_is_taken_back(server: str, tmp_path: Path) -> None:
    data = Data(server)
    data.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    # PostgreSQL restores the tables by name, so a row of `first` meets a `second` that is still empty.
    data.sql("CREATE TABLE second (n INT); INSERT INTO second VALUES (1)")
    data.sql("CREATE FUNCTION filled() RETURNS bool LANGUAGE sql AS 'SELECT count(*) > 0 FROM public.second'")
    data.sql("CREATE TABLE first (n INT CHECK (filled())); INSERT INTO first VALUES (1)")
    file = backup(data.database, tmp_path)
    data.sql("UPDATE second SET n = 2")
    with pytest.raises(Failed, match="violates check constraint"):
        restore(data.database, tmp_path / "kept", file, overwrite=True)
    assert data.sql("SELECT (SELECT n FROM first), (SELECT n FROM second)") == "1|2"


def test_a_backup_overwrites_no_file(data: Data, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("a letter")
    with pytest.raises(Failed, match="exists"):
        backup(data.database, tmp_path, str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "a letter"
    with pytest.raises(Failed, match="cannot be written"):
        backup(data.database, tmp_path, str(tmp_path / "there" / "below"))


def test_what_is_no_database_of_ours_is_refused() -> None:
    with pytest.raises(Failed, match="neither PostgreSQL nor a SQLite file"):
        at("mysql://ann:secret@db/shop", {})
    with pytest.raises(Failed, match="apt-get install postgresql-client"):
        at("postgres://ann:secret@db/shop", {"PATH": "/nonexistent"}).tables()


@pytest.mark.stack
def test_the_running_site_has_what_was_restored(stack: Stack, tmp_path: Path) -> None:
    """Workers keep their connections open over a restore."""
    assert stack.get(PAGE).status_code == 200
    before = stack.get(PAGE).text
    saved = stack.control("backup", str(tmp_path / "saved"))
    assert (saved.returncode, saved.stdout) == (0, f"{tmp_path}/saved\n"), saved.stderr
    emptied = stack.control("run", "python", "-m", "lowtide.application", "manage", "flush", "--noinput")
    assert emptied.returncode == 0, emptied.stderr
    # A form has another token each time.
    if stack.get(PAGE).text == before or "csrfmiddlewaretoken" in before:
        pytest.skip(f"{PAGE} shows nothing from the database, and this test needs a page that does")
    refused = stack.control("restore", str(tmp_path / "saved"))
    assert refused.returncode == 2
    restored = stack.control("restore", str(tmp_path / "saved"), "--overwrite")
    assert restored.returncode == 0, restored.stderr
    assert all(stack.get(PAGE).text == before for _ in range(8))
