"""Hostile requests are refused with a reason, and change nothing."""

import json
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from catalog.imports import MAX_RECORDS, MAX_TOLD
from catalog.models import Category, Product
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from pytest_django import Settings

from lowtide.django.guard import readable
from tests.app.feeds import post_json, post_ndjson, product

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, content_type: str, length: int, body: object) -> Any:
    """POST a body that the application reads from this object."""
    of: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "wsgi.input": body}
    return client.request(**of, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(length))


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_feed_has_a_bounded_number_of_records(client: Client, content_type: str) -> None:
    separator = b"\n" if content_type == "application/x-ndjson" else b","
    body = separator.join([json.dumps(product(1)).encode(), *[b"1         "] * MAX_RECORDS])
    body = body if separator == b"\n" else b"[" + body + b"]"
    response = client.post("/catalog/import/", body, content_type=content_type)
    assert response.status_code == 413
    assert f"more than {MAX_RECORDS} records" in response.json()["error"]
    assert not Product.objects.exists()


def test_errors_are_told_up_to_a_number(client: Client) -> None:
    answer = post_json(client, [*[1] * (MAX_TOLD + 5), product(1)])
    assert len(answer.content) < 150 * (MAX_TOLD + 6)
    results = answer.json()
    assert results["totals"] == {
        "records": MAX_TOLD + 6,
        "created": 1,
        "updated": 0,
        "valid": 0,
        "invalid": MAX_TOLD + 5,
    }
    assert results["results"][MAX_TOLD - 1]["errors"] == {"record": "must be an object"}
    assert str(MAX_TOLD) in results["results"][MAX_TOLD]["errors"]["record"]


def test_an_answer_does_not_repeat_a_long_sku(client: Client) -> None:
    assert len(post_json(client, [product(1, sku="x" * 100_000)]).content) < 1000


def test_nothing_is_stored_of_a_feed_that_breaks_off(client: Client) -> None:
    """This happens if the server is killed, or the client goes away, in the middle of 2,000 records."""
    lines = [json.dumps(product(number)).encode() + b"\n" for number in range(1, 2001)]

    class Torn:
        def __init__(self) -> None:
            self.lines = iter(lines[:1500])

        def readline(self, size: int = -1) -> bytes:
            if line := next(self.lines, b""):
                return line
            raise OSError("the client went away")

        read = readline

    response: Any = post(client, "/catalog/import/", "application/x-ndjson", sum(map(len, lines)), Torn())
    assert response.status_code == 400
    assert not Product.objects.exists()
    assert not Category.objects.exists()


@pytest.mark.parametrize("ndjson", [False, True])
def test_sending_a_feed_again_changes_nothing(client: Client, ndjson: bool) -> None:
    feed: list[Any] = [product(number) for number in range(1, 701)]

    def stored() -> list[Any]:
        if ndjson:
            post_ndjson(client, [*feed])
        else:
            post_json(client, feed)
        return list(Product.objects.order_by("pk").values())

    assert stored() == stored()


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([product(1), {"end": True, "records": 2}], "the feed has 1 records, and its last line says 2"),
        ([{"end": True}], "the feed has 0 records, and its last line says None"),
        ([product(1), {"end": True, "records": 1}, product(2)], "line 3 comes after the one that says"),
    ],
)
def test_a_feed_that_was_cut_is_refused(client: Client, lines: list[object], error: str) -> None:
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    response = client.post("/catalog/import/", body, content_type="application/x-ndjson")
    assert response.status_code == 400
    assert error in response.json()["error"]
    assert not Product.objects.exists()


UNUSABLE: dict[str, dict[str, Any]] = {
    "a parameter": {"path": "/catalog/?category=%00"},
    "the name of a parameter": {"path": "/catalog/?a%00b=1"},
    "the path": {"path": "/catalog/SKU%00/"},
    "the admin's path": {"path": "/admin/catalog/product/%00/change/"},
    "a header": {"path": "/catalog/", "headers": {"X-Request-ID": "a\0b"}},
    "the session": {"path": "/catalog/", "headers": {"Cookie": r'sessionid="\000"'}},
    "the session, in the admin": {"path": "/admin/", "headers": {"Cookie": r'sessionid="a\000b"'}},
    "another cookie": {"path": "/admin/login/", "headers": {"Cookie": r'csrftoken="\000"'}},
}


@pytest.mark.parametrize("where", UNUSABLE)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_character_that_cannot_be_stored_is_refused(where: str, accept: str) -> None:
    asked = UNUSABLE[where]
    headers = asked.get("headers", {}) | {"Accept": accept}
    response = Client().get(asked["path"], headers=headers)
    assert response.status_code == 400
    reason = response.json()["error"] if accept == "application/json" else response.text
    assert "NUL character" in reason


@pytest.mark.parametrize(
    "charset",
    ["base64", "undefined", "idna", "rot13", "punycode", "hex", "none-such", "utf-16", "'a", "*=utf-8''a%00b"],
)
@pytest.mark.usefixtures("open_connection")
def test_a_charset_that_is_none_of_text_counts_as_none(charset: str) -> None:
    """Django reads the charset while it makes the request, before any middleware runs."""
    environ: dict[str, Any] = {"PATH_INFO": "/catalog/", "QUERY_STRING": "q=%ff", "HTTP_HOST": "testserver"}
    environ["CONTENT_TYPE"] = f"text/plain; charset{charset if charset.startswith('*') else '=' + charset}"
    setup_testing_defaults(environ)
    statuses: list[str] = []
    response = readable(WSGIHandler())(environ, lambda status, _: statuses.append(status))
    b"".join(response)
    assert statuses == ["200 OK"]


@pytest.mark.parametrize("path", ["/catalog/", "/none/", "/admin/login/", "/catalog/export.json"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_every_body_is_read_to_its_end(client: Client, settings: Settings, path: str, content_type: str) -> None:
    """If a body is not read, uWSGI resets the connection, and nginx answers 502 in place of the answer."""

    class Counting:
        left = 3 * 2**20

        def read(self, size: int = -1) -> bytes:
            count = min(self.left, size if size >= 0 else self.left)
            self.left -= count
            return b"x" * count

        readline = read

    body = Counting()
    response: Any = post(client, path, content_type, body.left, body)
    assert response.status_code < 500
    assert body.left == 0
