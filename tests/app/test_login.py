"""Logins are throttled, per address and per account."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from axes.models import AccessAttempt
from django.conf import settings as loaded
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import Client

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse

pytestmark = pytest.mark.django_db

LIMIT = loaded.AXES_FAILURE_LIMIT


def login(username: str, password: str = "wrong", address: str = "192.0.2.1", agent: str = "a") -> int:  # noqa: S107
    return answer(username, password, address, {"User-Agent": agent}).status_code


def answer(username: str, password: str, address: str, headers: dict[str, str]) -> "_MonkeyPatchedWSGIResponse":
    given = {"username": username, "password": password}
    return Client(REMOTE_ADDR=address, headers=headers).post("/admin/login/", given)


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
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_a_locked_out_client_is_told_when_to_come_back(kind: str) -> None:
    """The last failure and all tries after it are answered alike, in the client's format."""
    for _ in range(LIMIT - 1):
        login("ann")
    for _ in range(2):
        refused = answer("ann", "wrong", "192.0.2.1", {"Accept": kind})
        assert (refused.status_code, refused["Content-Type"].split(";")[0]) == (429, kind)
        assert refused["Retry-After"] == "900"
        assert "too many logins have failed" in refused.text.lower()


@pytest.mark.usefixtures("ann")
def test_what_is_stored_of_tries_does_not_grow(hashed: list[str]) -> None:
    for _ in range(LIMIT):
        login("ann")
    rows = list(AccessAttempt.objects.values())
    for _ in range(LIMIT):
        login("ann")
    assert list(AccessAttempt.objects.values()) == rows
