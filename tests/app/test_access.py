"""Who may import and export: programs with the token, and users with the permission."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from accounts.models import User
from catalog.models import Product
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import Settings

from tests.app.feeds import TOKEN, fill, product

pytestmark = pytest.mark.django_db

EXPORTS = ["export.json", "export.csv", "export.ndjson", "export-stream.csv"]
PATHS = ["import/", *EXPORTS]


def ask(client: Client, path: str, **headers: str) -> Any:
    """An import of one product, or an export."""
    if path == "import/":
        body = json.dumps([product(1)])
        return client.post("/catalog/import/", body, content_type="application/json", headers=headers)
    return client.get(f"/catalog/{path}", headers=headers)


@pytest.fixture
def login() -> Callable[..., Client]:
    def logged_in(*permissions: str) -> Client:
        user = User.objects.create(username="ann")
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client(enforce_csrf_checks=True)
        client.force_login(user)
        return client

    return logged_in


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", TOKEN, "Bearer ", f"Bearer {TOKEN} ", f"Basic {TOKEN}", "Bearer s\u00e9same"]
)
def test_a_stranger_is_refused(path: str, given: str | None) -> None:
    response = ask(Client(), path, **{"Authorization": given} if given else {})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert list(response.json()) == ["error"]
    assert not Product.objects.exists()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", [None, "Bearer", "Bearer ", "Bearer None"])
def test_without_a_token_none_opens(settings: Settings, path: str, given: str | None) -> None:
    settings.IMPORT_TOKEN = ""
    assert ask(Client(), path, **{"Authorization": given} if given else {}).status_code == 401
    assert not Product.objects.exists()


@pytest.mark.parametrize("path", PATHS)
def test_the_token_opens_without_a_login(path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    assert ask(client, path, Authorization=f"Bearer {TOKEN}").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_user_without_the_permission_is_refused(login: Callable[..., Client], path: str) -> None:
    response = ask(login("change_product"), path)
    assert response.status_code == 403
    assert "catalog." in response.json()["error"]
    assert not Product.objects.exists()


@pytest.mark.parametrize("path", EXPORTS)
def test_a_user_with_the_permission_exports(login: Callable[..., Client], path: str) -> None:
    assert ask(login("view_product"), path).status_code == 200


def test_a_user_imports_with_the_csrf_token_only(login: Callable[..., Client]) -> None:
    """A browser sends its cookie even if a page of another site makes the request."""
    client = login("add_product", "add_category", "change_product")
    response = ask(client, "import/", Origin="https://elsewhere.example")
    assert (response.status_code, "X-CSRFToken" in response.json()["error"]) == (403, True)
    client.get("/admin/login/")
    assert ask(client, "import/").status_code == 403
    assert not Product.objects.exists()
    given = {"X-CSRFToken": client.cookies["csrftoken"].value}
    assert ask(client, "import/", **given).status_code == 200
    assert Product.objects.count() == 1


def test_only_who_may_export_is_shown_the_way(client: Client, login: Callable[..., Client]) -> None:
    fill(1)
    assert "export.ndjson" not in client.get("/catalog/").text
    assert "export.ndjson" in login("view_product").get("/catalog/").text
