"""Give the application a role of its own in PostgreSQL, which can change rows and nothing else.

Run it after `migrate`, as the owner of the tables, who must be allowed to make roles (CREATEROLE) but need not be a
superuser. RUNTIME_DATABASE_URL names the role and its password, which may come as RUNTIME_DATABASE_PASSWORD instead;
the role is created or updated. If it is the role that runs this command, or on another database, nothing is done.
"""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

# PostgreSQL's port where none is written.
_PORT = 5432
# What the role must not be able to do, with the column of pg_roles that tells.
_MORE = {
    "rolsuper": "NOSUPERUSER",
    "rolcreatedb": "NOCREATEDB",
    "rolcreaterole": "NOCREATEROLE",
    "rolreplication": "NOREPLICATION",
    "rolbypassrls": "NOBYPASSRLS",
}


class Command(BaseCommand):
    help = "Make the role that RUNTIME_DATABASE_URL names, with the rights to change rows and no others."

    def handle(self, *_: Any, **__: Any) -> None:
        try:
            url = urlsplit(os.environ.get("RUNTIME_DATABASE_URL", ""))
            port = str(url.port or _PORT)
        except ValueError:
            # Its text is not shown, because it may have a part of the password.
            raise CommandError(
                "RUNTIME_DATABASE_URL is no address: write postgres://role:password@host/name."
            ) from None
        role = unquote(url.username or "")
        password = unquote(url.password or "") or os.environ.get("RUNTIME_DATABASE_PASSWORD", "")
        # `hostname` is in small letters, whatever was written.
        host, database = unquote(url.hostname or "").lower(), unquote(url.path.strip("/"))
        own = connection.settings_dict
        if connection.vendor != "postgresql" or not role or role == own["USER"]:
            return
        own_port = str(own["PORT"] or _PORT)
        if (host, port, database) != (own["HOST"].lower(), own_port, own["NAME"]):
            self.stdout.write(
                f"RUNTIME_DATABASE_URL is not the database {own['NAME']} on {own['HOST']}, port {own_port}: "
                "nothing is done."
            )
            return
        if not password:
            raise CommandError(
                "RUNTIME_DATABASE_URL has no password: write postgres://role:password@host/name, "
                "or set RUNTIME_DATABASE_PASSWORD."
            )
        name, place = connection.ops.quote_name(role), connection.ops.quote_name(database)
        rows, counters = "SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT, UPDATE"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(_MORE)} FROM pg_roles WHERE rolname = %s", [role])  # noqa: S608
            present = cursor.fetchone()
            verb = "ALTER" if present else "CREATE"
            # A new role has none of these rights. Only a superuser may write such a word in ALTER, so it is written
            # only where there is something to take away.
            away = " ".join(word for word, has in zip(_MORE.values(), present or (), strict=False) if has)
            cursor.execute(f"{verb} ROLE {name} LOGIN {away} PASSWORD %s", [password])
            for statement in (
                f"GRANT CONNECT ON DATABASE {place} TO {name}",
                f"GRANT USAGE ON SCHEMA public TO {name}",
                f"GRANT {rows} ON ALL TABLES IN SCHEMA public TO {name}",
                f"GRANT {counters} ON ALL SEQUENCES IN SCHEMA public TO {name}",
                # Rights for tables that a later migration makes.
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {rows} ON TABLES TO {name}",
                f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {counters} ON SEQUENCES TO {name}",
            ):
                cursor.execute(statement)
