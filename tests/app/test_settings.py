"""Settings from the environment, each read by a process of its own, as in a deployment."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lowtide import defaults
from tests.machine import CHECKOUT

KEY = "a-long-enough-key-for-the-tests-0123456789-abcdefghijklm"


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run manage.py with these variables and no others."""
    environment.setdefault("PATH", os.environ["PATH"])
    command = [sys.executable, "-m", "lowtide.application", "manage", *arguments]
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def loaded(**environment: str) -> dict[str, Any]:
    """The settings that follow from these variables, as far as JSON can hold them."""
    show = "import json; from django.conf import settings; print(json.dumps(settings._wrapped.__dict__, default=str))"
    done = manage("shell", "--verbosity=0", f"--command={show}", SECRET_KEY=KEY, **environment)
    assert done.returncode == 0, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return {name: value for name, value in values.items() if name.isupper()}


def test_no_secret_key_no_start() -> None:
    done = manage("check")
    assert done.returncode != 0
    assert "SECRET_KEY is not set" in done.stderr
    assert "secrets.token_urlsafe" in done.stderr
    assert "Traceback" not in done.stderr


def test_defaults_are_clean_for_deployment() -> None:
    done = manage("check", "--deploy", "--fail-level=DEBUG", SECRET_KEY=KEY)
    # The checks that are silenced are about a choice that is the site's own: HSTS_INCLUDE_SUBDOMAINS and HSTS_PRELOAD.
    assert (done.returncode, done.stdout) == (0, "System check identified no issues (2 silenced).\n"), done.stderr


def test_plain_http_is_what_check_warns_about() -> None:
    done = manage("check", "--deploy", "--fail-level=WARNING", SECRET_KEY=KEY, HTTPS="off")
    assert done.returncode != 0
    assert "security.W008" in done.stderr


def test_migrations_match_the_models() -> None:
    done = manage("makemigrations", "--check", "--dry-run", SECRET_KEY=KEY)
    assert done.returncode == 0, done.stdout


def test_defaults() -> None:
    values = loaded()
    assert values["DEBUG"] is False
    assert values["SECURE_SSL_REDIRECT"] is values["SESSION_COOKIE_SECURE"] is values["CSRF_COOKIE_SECURE"] is True
    assert values["SECURE_PROXY_SSL_HEADER"] == ["HTTP_X_FORWARDED_PROTO", "https"]
    assert values["SECURE_HSTS_SECONDS"] == 3600
    # These settings bind other hosts than this site's, so they are off by default.
    assert values["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is values["SECURE_HSTS_PRELOAD"] is False
    assert values["ALLOWED_HOSTS"] == ["127.0.0.1", "localhost"]
    assert values["MAX_BODY"] == defaults.MAX_BODY_MB * 2**20
    assert values["STATIC_ROOT"] == str(CHECKOUT / "var" / "static")
    assert values["DATABASES"]["default"]["NAME"] == str(CHECKOUT / "var" / "db.sqlite3")


def test_empty_variables_mean_their_defaults() -> None:
    """Compose also passes on a variable that has no value."""
    names = ("DEBUG", "HTTPS", "ALLOWED_HOSTS", "MAX_BODY_MB", "DATABASE_URL", "CACHE_URL", "LOG_LEVEL")
    assert loaded(**dict.fromkeys(names, "")) == loaded()


def test_every_variable_is_read(tmp_path: Path) -> None:
    values = loaded(
        DEBUG="on",
        HTTPS="off",
        ALLOWED_HOSTS="shop.example, www.shop.example",
        CSRF_TRUSTED_ORIGINS="https://shop.example",
        DATABASE_URL=f"sqlite:///{tmp_path}/new/db.sqlite3",
        STATIC_ROOT=str(tmp_path),
        MAX_BODY_MB="5",
        LOG_LEVEL="warning",
        IMPORT_TOKEN="sesame",
    )
    assert values["DEBUG"] is True
    assert values["SECURE_SSL_REDIRECT"] is values["SESSION_COOKIE_SECURE"] is values["CSRF_COOKIE_SECURE"] is False
    assert values["SECURE_HSTS_SECONDS"] == 0
    assert values["SECURE_PROXY_SSL_HEADER"] is None
    assert values["ALLOWED_HOSTS"] == ["shop.example", "www.shop.example"]
    assert values["CSRF_TRUSTED_ORIGINS"] == ["https://shop.example"]
    assert values["DATABASES"]["default"]["NAME"] == f"{tmp_path}/new/db.sqlite3"
    assert (tmp_path / "new").is_dir()
    assert values["STATIC_ROOT"] == str(tmp_path)
    assert values["MAX_BODY"] == 5 * 2**20
    assert values["LOGGING"]["root"]["level"] == "WARNING"
    assert values["IMPORT_TOKEN"] == "sesame"


def test_the_toolbar_is_for_make_dev_only() -> None:
    toolbar = "debug_toolbar"
    assert toolbar not in loaded(DEBUG="on")["INSTALLED_APPS"]
    assert toolbar not in loaded(DEBUG_TOOLBAR="on")["INSTALLED_APPS"]
    assert toolbar in loaded(DEBUG="on", DEBUG_TOOLBAR="on")["INSTALLED_APPS"]


def test_hsts_for_other_hosts_is_a_choice() -> None:
    values = loaded(HSTS_INCLUDE_SUBDOMAINS="on", HSTS_PRELOAD="on")
    assert values["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is values["SECURE_HSTS_PRELOAD"] is True


def test_postgresql() -> None:
    url = "postgres://ann:p%40ss@db.example:5433/catalogue?sslmode=require"
    database = loaded(DATABASE_URL=url, CONN_MAX_AGE="9")["DATABASES"]["default"]
    assert database["ENGINE"] == "lowtide.django.postgresql"
    assert (database["USER"], database["PASSWORD"]) == ("ann", "p@ss")
    assert (database["HOST"], database["PORT"], database["NAME"]) == ("db.example", 5433, "catalogue")
    assert (database["CONN_MAX_AGE"], database["CONN_HEALTH_CHECKS"]) == (9, True)
    # Commands have no timeout, so that migrations have none.
    assert database["OPTIONS"] == {"sslmode": "require", "timeout_s": 0}


@pytest.mark.parametrize(
    ("url", "backend", "location"),
    [
        ("", "locmem.LocMemCache", ""),
        ("filecache:///var/cache/shop", "filebased.FileBasedCache", "/var/cache/shop"),
        ("dbcache://cache", "db.DatabaseCache", "cache"),
        ("redis://cache:6379/0", "redis.RedisCache", "redis://cache:6379/0"),
    ],
)
def test_cache(url: str, backend: str, location: str) -> None:
    cache = loaded(CACHE_URL=url)["CACHES"]["default"]
    assert (cache["BACKEND"], cache["LOCATION"]) == (f"django.core.cache.backends.{backend}", location)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DEBUG", "ture", "write on or off"),
        ("HTTPS", "maybe", "write on or off"),
        ("MAX_BODY_MB", "lots", "write a whole number, 1 or more"),
        ("MAX_BODY_MB", "0", "write a whole number, 1 or more"),
        ("HSTS_SECONDS", "-1", "write a whole number, 0 or more"),
        ("DATABASE_URL", "nonsense", "write postgres://"),
        ("DATABASE_URL", "mysql://localhost/catalogue", "write postgres://"),
        ("DATABASE_URL", "postgres://localhost", "write postgres://"),
        ("DATABASE_URL", "postgres://ann@localhost:port/catalogue", "write postgres://"),
        ("LOG_LEVEL", "chatty", "write DEBUG, INFO"),
        ("CACHE_URL", "redsi://cache:6379", "write locmemcache://"),
        ("CACHE_URL", "redis://", "write locmemcache://"),
        ("CACHE_URL", "filecache://", "write locmemcache://"),
    ],
)
def test_bad_value_is_named_with_what_to_write(name: str, value: str, hint: str) -> None:
    done = manage("check", SECRET_KEY=KEY, **{name: value})
    assert done.returncode != 0
    last_line = done.stderr.splitlines()[-1]
    assert name in last_line
    assert hint in last_line


def test_a_password_does_not_reach_the_log() -> None:
    done = manage("check", SECRET_KEY=KEY, DATABASE_URL="postgress://ann:hunter2@localhost/catalogue")
    assert "DATABASE_URL cannot be used" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(("given", "age_s"), [({}, 60), ({"CONN_MAX_AGE": "0"}, 0)])
def test_connections_live_on_with_sqlite_too(given: dict[str, str], age_s: int, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    assert loaded(DATABASE_URL=url, **given)["DATABASES"]["default"]["CONN_MAX_AGE"] == age_s


def test_sqlite_is_in_wal_mode(tmp_path: Path) -> None:
    show = "from django.db import connection as c; k = c.cursor(); print(k.execute('PRAGMA journal_mode').fetchone())"
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    done = manage("shell", "--verbosity=0", f"--command={show}", SECRET_KEY=KEY, DATABASE_URL=url)
    assert done.stdout == "('wal',)\n"


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    secret, address = tmp_path / "secret", tmp_path / "address"
    secret.write_text(f"{KEY}\n")
    address.write_text("postgres://ann:s3cret@db:5432/shop\n")
    show = "from django.conf import settings as s; print(s.SECRET_KEY, s.DATABASES['default']['NAME'])"
    files = {"SECRET_KEY_FILE": str(secret), "DATABASE_URL_FILE": str(address)}
    # If both are set the file counts, because Compose sets SECRET_KEY in any case.
    done = manage("shell", "--verbosity=0", f"--command={show}", SECRET_KEY="unused", **files)
    assert done.stdout.split() == [KEY, "shop"], done.stderr
    missing = manage("check", SECRET_KEY_FILE=str(tmp_path / "missing"))
    assert missing.returncode != 0
    assert f"SECRET_KEY_FILE={tmp_path}/missing cannot be read" in missing.stderr
