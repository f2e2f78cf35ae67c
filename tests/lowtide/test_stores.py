"""Whatever a setting contains, listing where the application writes does not fail."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lowtide.django import stores as module
from lowtide.django.stores import Store, at_address, named_in


@pytest.mark.parametrize(
    ("value", "stores"),
    [
        ("redis://u:p@cache:6379/1", [Store("service of BROKER", "redis://cache:6379/1", "host", "cache")]),
        ("redis://[x", [Store("service of BROKER", "BROKER", "unknown")]),
        (["amqp://[host]:5672"], [Store("service of BROKER", "BROKER", "unknown")]),
        ("https://[x", []),
        ("memory://", []),
        ({"stream": "ext://sys.stderr"}, []),
        ("^redis://[a-z]+", []),
    ],
)
def test_a_setting_names_a_service(value: object, stores: list[Store]) -> None:
    assert list(named_in(value, "BROKER")) == stores


def test_where_dynaconf_reads_settings_is_no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"REDIS_FOR_DYNACONF": {"host": "localhost"}, "BROKER": {"host": "broker"}}
    monkeypatch.setattr(module, "settings", SimpleNamespace(**places))
    assert list(module.services()) == [Store("service of BROKER", "broker", "host", "broker")]


def test_a_cache_with_a_malformed_address_is_unknown() -> None:
    assert at_address("cache", "redis://[x", "some.Backend") == Store("cache", "some.Backend", "unknown")


def test_the_folders_of_a_django_before_4_2_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = "django.core.files.storage.FileSystemStorage"
    older = {"MEDIA_ROOT": "/srv/media", "STATIC_ROOT": "", "DEFAULT_FILE_STORAGE": storage}
    monkeypatch.setattr(module, "settings", SimpleNamespace(**older, STATICFILES_STORAGE="shop.storage.Bucket"))
    folder = Store("folder of files", str(Path("/srv/media").resolve()), "file")
    assert list(module.files()) == [folder, Store("storage of files", "shop.storage.Bucket", "unknown")]
