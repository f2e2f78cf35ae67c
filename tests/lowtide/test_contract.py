"""What the stack asks of an application's settings: each mistake is one line that names the setting."""

from typing import Any

import pytest
from pytest_django.fixtures import Settings

from lowtide.django import contract

ENVIRONMENT = {
    "STATIC_ROOT": "/srv/static",
    "ALLOWED_HOSTS": "shop.example, .other.example",
    "HTTPS": "on",
    "MAX_BODY_MB": "32",
}
KEPT = {
    "STATIC_URL": "/static/",
    "STATIC_ROOT": "/srv/static",
    "ALLOWED_HOSTS": ["*"],
    "SECURE_SSL_REDIRECT": True,
    "SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https"),
}


def said(settings: Settings, **broken: Any) -> list[str]:
    for name, value in (KEPT | broken).items():
        setattr(settings, name, value)
    return [str(message.msg) for message in contract.check()]


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", "/srv/db.sqlite3")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "sqlite:////srv/db.sqlite3")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"STATIC_URL": "/assets/"}, "STATIC_URL is '/assets/', and nginx serves the files at /static/: write"),
        ({"STATIC_ROOT": "/elsewhere"}, "STATIC_ROOT is /elsewhere, and nginx reads /srv/static: take it from the"),
        ({"ALLOWED_HOSTS": ["shop.example"]}, "ALLOWED_HOSTS does not let in .other.example, which the variable"),
        ({"SECURE_PROXY_SSL_HEADER": None}, "SECURE_SSL_REDIRECT is on without SECURE_PROXY_SSL_HEADER, so every"),
        ({"DATA_UPLOAD_MAX_MEMORY_SIZE": None}, "DATA_UPLOAD_MAX_MEMORY_SIZE lets in larger bodies than nginx does"),
    ],
)
def test_a_setting_that_breaks_the_contract(settings: Settings, broken: dict[str, Any], says: str) -> None:
    (line,) = said(settings, **broken)
    assert line.startswith(says)
    assert "\n" not in line


def test_another_database_and_a_redirect_without_https(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://shop:secret@db/shop")
    monkeypatch.setenv("HTTPS", "off")
    first, second = said(settings)
    assert first.startswith('DATABASES["default"] is not the database of DATABASE_URL (NAME differs)')
    assert second.startswith("SECURE_SSL_REDIRECT is on and HTTPS is off")


def test_what_is_unset_is_compared_with_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(settings) == []
    for name in (*ENVIRONMENT, "DATABASE_URL"):
        monkeypatch.delenv(name)
    assert said(settings, STATIC_ROOT="/elsewhere", ALLOWED_HOSTS=["shop.example"]) == []


def test_a_database_that_the_user_has_allowed_is_another_one(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", "/home/ada/shop.sqlite3")
    assert len(said(settings)) == 1
    monkeypatch.setenv("DATABASE_I_OWN", "/home/ada/shop.sqlite3\n/other.sqlite3")
    assert said(settings) == []
