"""/healthz and /readyz, as a load balancer asks for them."""

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings


@pytest.fixture(autouse=True)
def production(settings: Settings) -> None:
    """The site has another host name than the checks send, and redirects to HTTPS, which the checks do not speak."""
    settings.ALLOWED_HOSTS = ["shop.example"]
    settings.SECURE_SSL_REDIRECT = True


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "10.0.3.7"])
def test_alive_without_a_database(client: Client, host: str) -> None:
    """Without the mark django_db a query would make this test fail."""
    response = client.get("/healthz", headers={"host": host})
    assert (response.status_code, response.content) == (200, b"ok\n")


@pytest.mark.django_db
@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "10.0.3.7"])
def test_ready(client: Client, host: str, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_max_num_queries(2):
        response = client.get("/readyz", headers={"host": host})
    assert (response.status_code, response.json()) == (200, {"status": "ready", "missing": {}})


@pytest.mark.django_db
def test_not_ready_before_migrate(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The answer does not tell strangers which migration is missing; the log does, once."""
    MigrationRecorder(connection).record_unapplied("catalog", "0001_products")
    for _ in range(3):
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json() == {"status": "unavailable", "missing": {"migrations": "the log says why"}}
    assert sum("catalog.0001_products" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.django_db
def test_not_ready_without_a_database(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise DatabaseError("connection refused; password=secret")

    monkeypatch.setattr(connection, "cursor", refuse)
    for _ in range(3):
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["missing"] == {"database": "the log says why"}
    assert not [record for record in caplog.records if record.exc_info]
    assert sum("connection refused" in record.getMessage() for record in caplog.records) == 1


def test_everything_else_obeys_the_settings(client: Client) -> None:
    assert client.get("/catalog/", headers={"host": "10.0.3.7"}).status_code == 400
    redirect = client.get("/catalog/", headers={"host": "shop.example"})
    assert (redirect.status_code, redirect["Location"]) == (301, "https://shop.example/catalog/")
