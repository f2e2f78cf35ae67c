"""Django's settings of the database that DATABASE_URL names."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import django

WRITE = "postgres://USER:PASSWORD@HOST:5432/NAME or sqlite:////absolute/path.sqlite3"


def settings(url: str, timeout_s: int = 0) -> dict[str, Any]:
    """The database at `url`, as an entry of DATABASES. A statement in PostgreSQL may take `timeout_s`; 0 is no limit.

    Raises:
        ValueError: it is neither PostgreSQL nor SQLite, or has no name.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if len(parts.path) < 2:
        raise ValueError(url)
    # Connections stay open between requests, with SQLite too: when the last connection closes, SQLite writes the whole
    # WAL (write-ahead log) into the database, and after a large write everybody would wait half a second for that.
    config: dict[str, Any] = {"CONN_MAX_AGE": 60, "OPTIONS": options}
    if parts.scheme == "sqlite":
        path = Path(unquote(parts.path[1:]))
        path.parent.mkdir(parents=True, exist_ok=True)
        options.setdefault("timeout", 20)
        # Django has these two options since 5.1. With WAL readers do not wait for the writer. With IMMEDIATE a
        # transaction takes the write lock when it begins, and waits for it. If it took the lock in the middle, it would
        # fail at once with "database is locked".
        if django.VERSION >= (5, 1):
            options.setdefault("init_command", "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            options.setdefault("transaction_mode", "IMMEDIATE")
        return config | {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ValueError(url)
    # A connection that the server has closed meanwhile is opened again.
    config |= {"ENGINE": "django.db.backends.postgresql", "CONN_HEALTH_CHECKS": True}
    if find_spec("psycopg"):
        # The same, with bounds on waiting for a database that is away or silent.
        config["ENGINE"] = "lowtide.django.postgresql"
        options["timeout_s"] = timeout_s
    return config | {
        "NAME": unquote(parts.path[1:]),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }
