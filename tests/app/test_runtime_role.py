"""The application's own role in PostgreSQL can change rows and nothing else, also in tables that are made later."""

import os
import subprocess
import sys

import psycopg
import pytest

from tests.machine import CHECKOUT
from tests.postgresql import postgresql

pytestmark = pytest.mark.slow


def manage(*words: str, **environment: str) -> None:
    command = [sys.executable, "-m", "lowtide.application", "manage", *words]
    done = subprocess.run(command, cwd=CHECKOUT, env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("owner_is", ["superuser", "no superuser"])
def test_the_role_changes_rows_and_nothing_else(owner_is: str) -> None:
    """In a container of PostgreSQL the owner of the tables is a superuser. RDS' master user is none."""
    with postgresql() as url:
        theirs = url.replace("postgres@", "app%2Fone:s%40cret@")
        if owner_is == "no superuser":
            with psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True) as superuser:
                superuser.execute("CREATE ROLE master LOGIN CREATEROLE CREATEDB")
                superuser.execute("ALTER DATABASE postgres OWNER TO master")
                superuser.execute("ALTER SCHEMA public OWNER TO master")
            url = url.replace("postgres@", "master@")
        manage("migrate", "--noinput", "--verbosity=0", DATABASE_URL=url)
        # Made, and made again. The second password comes as on ECS, which cannot put a secret into a URL.
        manage("runtime_role", DATABASE_URL=url, RUNTIME_DATABASE_URL=theirs)
        apart = {"RUNTIME_DATABASE_URL": theirs.replace(":s%40cret", ""), "RUNTIME_DATABASE_PASSWORD": "s@cret"}
        manage("runtime_role", DATABASE_URL=url, **apart)
        with psycopg.connect(url.replace("postgres://", "postgresql://"), autocommit=True) as owner:
            owner.execute("CREATE TABLE later (id serial PRIMARY KEY)")
        with psycopg.connect(theirs.replace("postgres://", "postgresql://"), autocommit=True) as role:
            assert role.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
            role.execute("INSERT INTO later DEFAULT VALUES")
            role.execute("INSERT INTO django_session VALUES ('k', 'v', now())")
            role.execute("DELETE FROM django_session")
            for forbidden in (
                "DROP TABLE later",
                "CREATE TABLE mine ()",
                "CREATE ROLE other",
                "ALTER ROLE postgres NOLOGIN",
                "SET ROLE postgres",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    role.execute(forbidden)
