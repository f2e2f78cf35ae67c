"""What the application's tests share. They run on SQLite, and once more on PostgreSQL (test_postgresql.py)."""

from collections.abc import Iterator

import pytest
from django.conf import settings as loaded
from django.core import signals
from django.db import close_old_connections
from django.test import Client
from pytest_django import Settings

from tests.app.feeds import TOKEN
from tests.container.conftest import engine as engine

# Some files have tests for one database only. With the other they are not collected, so that nothing counts as skipped.
on_postgresql = loaded.DATABASES["default"]["ENGINE"].endswith("postgresql")
collect_ignore = ["test_server_side_cursors.py"]
if on_postgresql:
    collect_ignore = ["test_postgresql.py", "test_database_away.py", "test_costs.py", "test_settings.py"]
    collect_ignore += ["test_users.py", "test_cache.py", "test_first_day.py", "test_runtime_role.py"]


@pytest.fixture(autouse=True)
def plain_settings(settings: Settings) -> None:
    """The default settings with HTTPS off, whatever the environment of these tests says."""
    settings.SECURE_SSL_REDIRECT = False
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.IMPORT_TOKEN = TOKEN
    # The tests do not run collectstatic, so there are no names with a hash.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": plain}
    settings.MAX_BODY = 32 * 1024 * 1024


@pytest.fixture
def open_connection() -> Iterator[None]:
    """Keep the connection open when a request begins or ends, as Django's client does, for requests without it."""
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def client() -> Client:
    """A client with the token for imports and exports."""
    return Client(headers={"Authorization": f"Bearer {TOKEN}"})
