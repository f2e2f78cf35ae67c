"""Logins are throttled, per address and per account."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from axes.models import AccessAttempt
from django.conf import settings as loaded
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client

pytestmark = pytest.mark.django_db

LIMIT = loaded.AXES_FAILURE_LIMIT


def login(username: str, password: str = "wrong", address: str = "192.0.2.1", agent: str = "a") -> int:  # noqa: S107
    client = Client(REMOTE_ADDR=address, headers={"User-Agent": agent})
    given = {"username": username, "password": password}
    return client.post("/admin/login/", given).status_code


@pytest.fixture
def hashed() -> Iterator[list[str]]:
    """The passwords that were really checked, each of which takes processor time."""
    passwords: list[str] = []

    def encode(self: object, password: str, salt: str, iterations: int | None = None) -> str:
        passwords.append(password)
        return f"pbkdf2_sha256${iterations or PBKDF2PasswordHasher.iterations}${salt}${password}"

    with patch.object(PBKDF2PasswordHasher, "encode", encode):
        yield passwords


@pytest.fixture
def ann(hashed: list[str]) -> None:
    get_user_model().objects.create_superuser("ann", password="right")
    hashed.clear()


@pytest.mark.usefixtures("ann")
def test_an_address_gets_no_more_tries(hashed: list[str]) -> None:
    """An address is locked out whatever user names and browsers it sends."""
    statuses = [login(f"name-{number}", agent=f"agent {number}") for number in range(3 * LIMIT)]
    assert statuses == [200] * (LIMIT - 1) + [429] * (2 * LIMIT + 1)
    assert len(hashed) == LIMIT
    assert login("ann", "right") == 429
    assert login("ann", "right", "192.0.2.2") == 302


@pytest.mark.usefixtures("ann")
def test_an_account_gets_no_more_tries(hashed: list[str]) -> None:
    """An account is locked from however many addresses the tries come."""
    statuses = [login("ann", address=f"192.0.2.{number}") for number in range(3 * LIMIT)]
    assert statuses == [200] * (LIMIT - 1) + [429] * (2 * LIMIT + 1)
    assert len(hashed) == LIMIT
    assert login("ann", "right", "198.51.100.1") == 429


@pytest.mark.usefixtures("ann")
def test_what_is_stored_of_tries_does_not_grow(hashed: list[str]) -> None:
    for _ in range(LIMIT):
        login("ann")
    rows = list(AccessAttempt.objects.values())
    for _ in range(LIMIT):
        login("ann")
    assert list(AccessAttempt.objects.values()) == rows
