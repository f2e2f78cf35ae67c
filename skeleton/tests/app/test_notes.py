import json

import pytest
from django.core.management import call_command
from django.test import Client
from notes.load import feed
from notes.models import Note
from pytest_django import Settings

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def plain(settings: Settings) -> None:
    """Pages come without HTTPS, and refer to static files that were not collected."""
    settings.SECURE_SSL_REDIRECT = False
    static = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": static}


@pytest.fixture
def program(settings: Settings) -> Client:
    """A client that sends the token."""
    settings.IMPORT_TOKEN = "of-the-tests"
    return Client(headers={"authorization": "Bearer of-the-tests"})


def test_pages_show_the_notes(client: Client) -> None:
    assert "There are none yet" in client.get("/").text
    call_command("fill", "--notes", "60")
    assert "Page 1 of 2" in client.get("/").text
    note = Note.objects.get(number=60)
    assert note.text in client.get("/notes/60/").text
    assert client.get("/notes/61/").status_code == 404


def test_an_import_stores_and_replaces(program: Client) -> None:
    for text in ("old", "new"):
        rows = [{"number": 1, "title": "Tide", "text": text}]
        done = program.post("/import/", json.dumps(rows), content_type="application/json")
        assert (done.status_code, done.json()) == (200, {"notes": 1})
    assert program.get("/export/").json() == {"notes": [{"number": 1, "title": "Tide", "text": "new"}]}


def test_a_dry_run_stores_nothing(program: Client) -> None:
    done = program.post("/import/?dry_run=1", feed(3, seed=1), content_type="application/json")
    assert done.json() == {"notes": 3}
    assert not Note.objects.exists()


@pytest.mark.parametrize(
    "body", ["", "{}x", "[1]", '[{"number": "x", "title": "", "text": ""}]', pytest.param("[" * 100_000, id="deep")]
)
def test_what_is_no_list_of_notes_is_refused(program: Client, body: str) -> None:
    done = program.post("/import/", body, content_type="application/json")
    assert done.status_code == 400
    assert "Write a list" in done.json()["error"]


def test_strangers_neither_import_nor_export(client: Client) -> None:
    assert client.post("/import/", "[]", content_type="application/json").status_code == 401
    assert client.get("/export/").status_code == 401
