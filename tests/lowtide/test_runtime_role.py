"""The command makes the role only on the database that RUNTIME_DATABASE_URL names. PostgreSQL is a stand-in here."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from django.core.management import CommandError, call_command

from lowtide.django.management.commands import runtime_role


def statements(monkeypatch: pytest.MonkeyPatch, url: str, **own: Any) -> int:
    """How many statements the command executes, for the owner's connection with these settings."""
    settings = {"USER": "owner", "HOST": "db.example", "PORT": "", "NAME": "shop"} | own
    cursor = MagicMock()
    stand_in = SimpleNamespace(vendor="postgresql", settings_dict=settings, ops=MagicMock(), cursor=lambda: cursor)
    monkeypatch.setattr(runtime_role, "connection", stand_in)
    monkeypatch.setenv("RUNTIME_DATABASE_URL", url)
    call_command(runtime_role.Command())
    return int(cursor.__enter__().execute.call_count)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("postgres://role:s@db.example/shop", {}),
        ("postgres://role:s@db.example:5432/shop", {}),
        ("postgres://role:s@db.example/shop", {"PORT": 5432}),
        ("postgres://role:s@DB.example:6000/shop", {"HOST": "db.Example", "PORT": "6000"}),
        ("postgres://role:s@db.example/my%20shop", {"NAME": "my shop"}),
        ("postgres://role:s@%2Fvar%2FRun/shop", {"HOST": "/var/Run"}),
    ],
)
def test_the_role_is_made_on_the_same_database(monkeypatch: pytest.MonkeyPatch, url: str, own: dict[str, Any]) -> None:
    assert statements(monkeypatch, url, **own)


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("postgres://role:s@db.example:6000/shop", {}),
        ("postgres://role:s@db.example/shop", {"PORT": "6000"}),
        ("postgres://role:s@other.example/shop", {}),
        ("postgres://role:s@db.example/Shop", {}),
    ],
)
def test_another_database_is_left_alone(monkeypatch: pytest.MonkeyPatch, url: str, own: dict[str, Any]) -> None:
    assert not statements(monkeypatch, url, **own)


@pytest.mark.parametrize("url", ["postgres://role:s@db.example:port/shop", "postgres://role:s@[db/shop"])
def test_an_address_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(CommandError, match="RUNTIME_DATABASE_URL is no address: write postgres://role:password@host/"):
        statements(monkeypatch, url)
