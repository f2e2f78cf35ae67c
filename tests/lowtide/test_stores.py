"""Whatever a setting contains, listing where the application writes does not fail."""

import pytest

from lowtide.django.stores import Store, at_address, named_in


@pytest.mark.parametrize(
    ("value", "stores"),
    [
        ("redis://u:p@cache:6379/1", [Store("service of BROKER", "redis://cache:6379/1", "host", "cache")]),
        ("redis://[x", [Store("service of BROKER", "BROKER", "unknown")]),
        (["amqp://[host]:5672"], [Store("service of BROKER", "BROKER", "unknown")]),
        ("https://[x", []),
        ("memory://", []),
        ("^redis://[a-z]+", []),
    ],
)
def test_a_setting_names_a_service(value: object, stores: list[Store]) -> None:
    assert list(named_in(value, "BROKER")) == stores


def test_a_cache_with_a_malformed_address_is_unknown() -> None:
    assert at_address("cache", "redis://[x", "some.Backend") == Store("cache", "some.Backend", "unknown")
