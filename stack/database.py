"""The stack's database at a prompt, into a file, and back from it.

PostgreSQL's own programs and SQLite's backup interface do the work. A restore is one transaction, so that one which
fails half-way changes nothing, and the site may run meanwhile.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import unquote, urlsplit

from stack import CHECKOUT, Failed

# Every table goes before those of the backup come. Otherwise a table that the backup does not have would stay and be in
# the way of a later `migrate`.
EMPTY = """
SET lock_timeout = '30s';
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', name);
  END LOOP;
END $$;
CREATE SCHEMA public AUTHORIZATION pg_database_owner;
GRANT USAGE ON SCHEMA public TO PUBLIC;
"""
COUNT = r"SELECT count(*) FROM pg_tables WHERE schemaname !~ '^pg_' AND schemaname <> 'information_schema'"
# Roles and rights are not part of a backup, because another machine has other roles. `runtime_role` gives the rights.
BARE = ("--no-owner", "--no-privileges")


class Database(Protocol):
    """What both kinds of database can do. Each method raises Failed when it could not do it."""

    name: str
    suffix: str

    def prompt(self, words: Sequence[str]) -> int:
        """The database's own prompt on the user's terminal, or with the arguments `words`. Returns its exit code."""
        ...

    def tables(self) -> int: ...
    def save(self, file: Path) -> None:
        """Write all data into a new file, and read it once."""
        ...

    def load(self, file: Path) -> None:
        """Replace all data by that of the file, or change nothing."""
        ...


class Postgres:
    """A PostgreSQL database.

    Args:
        within: the words before each of PostgreSQL's programs; none where they run on this machine.
        arguments: says which database.
        env: the environment of the programs.
    """

    suffix = ".dump"

    def __init__(self, name: str, arguments: Sequence[str], env: Mapping[str, str], within: Sequence[str] = ()) -> None:
        self.name = name
        self._arguments = arguments
        self._env = dict(env)
        self._within = within

    def prompt(self, words: Sequence[str]) -> int:
        within = list(self._within)
        if within and not sys.stdin.isatty():
            within.insert(within.index("exec") + 1, "-T")
        self._require("psql")
        return subprocess.run([*within, "psql", *self._arguments, *words], env=self._env).returncode

    def tables(self) -> int:
        with tempfile.TemporaryFile() as answer:
            self._run(["psql", *self._arguments, "--no-psqlrc", "-qAt", "-c", COUNT], to=answer)
            answer.seek(0)
            return int(answer.read())

    def save(self, file: Path) -> None:
        with file.open("wb") as out:
            self._run(["pg_dump", *self._arguments, "--format=custom", *BARE], to=out)
        with file.open("rb") as written, Path(os.devnull).open("wb") as nowhere:
            self._run(["pg_restore", "--file=-"], to=nowhere, of=written)

    def load(self, file: Path) -> None:
        with tempfile.TemporaryFile() as script:
            # COMMIT is the last line, so that a script which is cut off anywhere ends without it.
            script.write(f"BEGIN;\n{EMPTY}".encode())
            script.flush()
            with file.open("rb") as backup:
                self._run(["pg_restore", "--file=-", *BARE], to=script, of=backup)
            script.seek(0, os.SEEK_END)
            script.write(b"\nCOMMIT;\n")
            script.seek(0)
            words = ["psql", *self._arguments, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]
            with Path(os.devnull).open("wb") as nowhere:
                self._run(words, to=nowhere, of=script)

    def _run(self, words: list[str], to: IO[bytes], of: IO[bytes] | None = None) -> None:
        self._require(words[0])
        within = list(self._within)
        if within:
            within.insert(within.index("exec") + 1, "-T")
        done = subprocess.run(
            [*within, *words], env=self._env, stdin=of or subprocess.DEVNULL, stdout=to, stderr=subprocess.PIPE
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()[-15:]
            raise Failed("\n".join([*said, f"`{words[0]}` failed, as said above (exit code {done.returncode})."]))

    def _require(self, program: str) -> None:
        if not self._within and not shutil.which(program, path=self._env.get("PATH")):
            raise Failed(f"{program} is not installed. On Debian or Ubuntu: apt-get install postgresql-client")


class SQLite:
    """A SQLite database in a file."""

    suffix = ".sqlite3"

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.name = str(path)
        self._path = path
        self._env = dict(env)

    def prompt(self, words: Sequence[str]) -> int:
        if shutil.which("sqlite3", path=self._env.get("PATH")):
            command = ["sqlite3", self.name, *words]
        elif sys.version_info >= (3, 12):
            command = [sys.executable, "-m", "sqlite3", self.name, *words]
        else:
            raise Failed("sqlite3 is not installed. On Debian or Ubuntu: apt-get install sqlite3")
        return subprocess.run(command, env=self._env).returncode

    def tables(self) -> int:
        if not self._path.exists():
            return 0
        with read(self._path) as database:
            return count(database)

    def save(self, file: Path) -> None:
        if not self._path.exists():
            raise Failed(f"There is no database yet in {self.name}: `make up` first.")
        with closing(sqlite3.connect(self._path)) as database, closing(sqlite3.connect(file)) as copy, told(self.name):
            database.backup(copy)
            # One file, without a log beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
            check(copy, file)

    def load(self, file: Path) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with read(file) as backup:
            check(backup, file)
            # Not a file that takes the other's place: workers have the database open, and see what is written into it.
            with closing(sqlite3.connect(self._path, timeout=30)) as database, told(self.name):
                backup.backup(database)


@contextmanager
def read(path: Path) -> Iterator[sqlite3.Connection]:
    with told(str(path)), closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        yield database


@contextmanager
def told(name: str) -> Iterator[None]:
    """Raises Failed where SQLite cannot do it."""
    try:
        yield
    except sqlite3.Error as error:
        raise Failed(f"{name}: {error}.") from None


def count(database: sqlite3.Connection) -> int:
    tables: int = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()[0]
    return tables


def check(database: sqlite3.Connection, file: Path) -> None:
    """Raises Failed where the database is damaged or has nothing in it."""
    said = database.execute("PRAGMA integrity_check").fetchone()[0]
    if said != "ok":
        raise Failed(f"{file} is damaged: {said}")
    if not count(database):
        raise Failed(f"{file} has no table in it.")


def at(url: str, env: Mapping[str, str]) -> Database:
    """The database at this address, which programs of this machine reach.

    Raises:
        Failed: it is neither PostgreSQL nor a SQLite file.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and len(parts.path) > 1:
        return SQLite(CHECKOUT / unquote(parts.path[1:]), env)
    if parts.scheme not in ("postgres", "postgresql"):
        raise Failed("DATABASE_URL names neither PostgreSQL nor a SQLite file: use the tools of that database.")
    # The password goes through the environment, because everybody on the machine can read a command line.
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    bare = parts._replace(scheme="postgresql", netloc=f"{name}@{host}" if name else host).geturl()
    secret = {"PGPASSWORD": unquote(password)} if password else {}
    return Postgres(parts.path.strip("/"), [f"--dbname={bare}"], dict(env) | secret)


def backup(database: Database, folder: Path, to: str = "", label: str = "") -> Path:
    """Write the data into a file: `to`, or one in `folder` named by the time. Returns the file's path.

    Raises:
        Failed: it could not be written; there is no file then.
    """
    file = Path(to) if to else folder / f"{label}{time.strftime('%Y-%m-%dT%H-%M-%SZ', time.gmtime())}{database.suffix}"
    if file.exists():
        raise Failed(f"{file} exists: give another name with TO=...")
    # Readable by its owner only: it has everybody's data in it.
    mask = os.umask(0o077)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".unfinished-") as beside:
            unfinished = Path(beside) / file.name
            database.save(unfinished)
            unfinished.rename(file)
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}.") from None
    finally:
        os.umask(mask)
    return file


def restore(database: Database, folder: Path, file: Path, overwrite: bool) -> str:
    """Replace the data by that of a file, after a backup of what is there. Returns where that backup is; may be empty.

    Raises:
        Failed: there is data and `overwrite` is false, or the file cannot be used; the data is what it was.
    """
    try:
        file.open("rb").close()
    except OSError as error:
        raise Failed(f"{file} cannot be read: {error.strerror}.") from None
    kept = ""
    if tables := database.tables():
        if not overwrite:
            raise Failed(
                f"The database {database.name} has {tables} tables. OVERWRITE=yes replaces them, after a backup."
            )
        kept = str(backup(database, folder, label="before-restore-"))
    database.load(file)
    return kept
