"""POST /catalog/import/, as JSON and as NDJSON."""

import gzip
import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from catalog.feed import MAX_DESCRIPTION, InvalidRecord, clean
from catalog.imports import MAX_LINE
from catalog.models import Category, Product
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from tests.app.feeds import post_json, post_ndjson, product

pytestmark = pytest.mark.django_db

INVALID = [
    ({"sku": "no spaces"}, "sku", "letters A to Z"),
    ({"sku": "X" * 33}, "sku", "33 characters; 32"),
    ({"sku": ""}, "sku", "empty"),
    ({"sku": 7}, "sku", "must be text"),
    ({"name": "   "}, "name", "empty"),
    ({"name": "x" * 201}, "name", "201 characters; 200"),
    ({"category": None}, "category", "must be text"),
    ({"category": "x" * 101}, "category", "101 characters; 100"),
    ({"description": "x" * (MAX_DESCRIPTION + 1)}, "description", "10000 are allowed"),
    ({"description": "a\0b"}, "description", "U+0000"),
    ({"description": "half a pair: \ud83d"}, "description", "U+D83D"),
    ({"price": "12,50"}, "price", "decimal"),
    ({"price": "NaN"}, "price", "decimal"),
    ({"price": "Infinity"}, "price", "decimal"),
    ({"price": "1_000"}, "price", "decimal"),
    ({"price": "\u0661\u0662"}, "price", "decimal"),
    ({"price": "1e9999999999999999999"}, "price", "decimal"),
    ({"name": "\x9b31m"}, "name", "U+009B"),
    ({"price": "1.999"}, "price", "two decimals"),
    ({"price": -1}, "price", "between 0"),
    ({"price": "1e30"}, "price", "between 0"),
    ({"price": "1e1000000"}, "price", "between 0"),
    ({"price": True}, "price", "decimal"),
    ({"price": [1]}, "price", "decimal"),
    ({"stock": "3"}, "stock", "whole number"),
    ({"stock": 1.5}, "stock", "whole number"),
    ({"stock": -1}, "stock", "between 0"),
    ({"stock": 2**31}, "stock", "between 0"),
    ({"stock": True}, "stock", "whole number"),
]


@pytest.mark.parametrize(("changes", "field", "message"), INVALID)
def test_invalid_field_is_named_and_nothing_else(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidRecord) as invalid:
        clean(product(1) | changes)
    assert list(invalid.value.errors) == [field]
    assert message in invalid.value.errors[field]


@pytest.mark.parametrize("field", ["sku", "name", "category", "description", "price", "stock"])
def test_missing_field_is_named(field: str) -> None:
    raw = product(1)
    del raw[field]
    with pytest.raises(InvalidRecord) as invalid:
        clean(raw)
    assert invalid.value.errors == {field: "is missing"}


def test_record_is_normalised() -> None:
    raw = product(1, sku=" sku-9 ", name=" two \t words ", description="a\r\nb\n ", price=" 5 ", unknown="left out")
    record = clean(raw | {"category": "Cafe\u0301"})
    assert (record.sku, record.name, record.category) == ("SKU-9", "two words", "Caf\u00e9")
    assert (record.description, str(record.price)) == ("a\nb", "5.00")


@pytest.mark.parametrize("price", ["-0", "0e5", 0])
def test_nothing_is_zero_without_a_sign(price: object) -> None:
    assert str(clean(product(1, price=price)).price) == "0.00"


def as_list(records: object) -> object:
    return records


def as_object(records: object) -> object:
    return {"products": records}


@pytest.mark.parametrize("wrap", [as_list, as_object])
def test_json_creates_then_updates(client: Client, wrap: Callable[[object], object]) -> None:
    feed = [product(1), product(2, price=12.5, category="Other")]
    first = post_json(client, wrap(feed))
    assert first.status_code == 200
    assert first.json() == {
        "dry_run": False,
        "totals": {"records": 2, "created": 2, "updated": 0, "valid": 0, "invalid": 0},
        "results": [
            {"record": 1, "sku": "SKU-000001", "status": "created", "errors": {}},
            {"record": 2, "sku": "SKU-000002", "status": "created", "errors": {}},
        ],
    }
    before = Product.objects.get(sku="SKU-000002")
    assert (before.price, before.category.name) == (Decimal("12.50"), "Other")

    again = post_json(client, wrap([product(2, name="New name", stock=70), product(3)])).json()
    assert [result["status"] for result in again["results"]] == ["updated", "created"]
    after = Product.objects.get(sku="SKU-000002")
    assert (after.pk, after.name, after.stock) == (before.pk, "New name", 70)
    assert after.updated_at > before.updated_at
    assert Product.objects.count() == 3


def test_ndjson_creates_then_updates(client: Client) -> None:
    assert post_ndjson(client, [product(1), b"", product(2)]) == [
        {"record": 1, "sku": "SKU-000001", "status": "created", "errors": {}},
        {"record": 2, "sku": "SKU-000002", "status": "created", "errors": {}},
        {"dry_run": False, "totals": {"records": 2, "created": 2, "updated": 0, "valid": 0, "invalid": 0}},
    ]
    again = post_ndjson(client, [product(2, name="New name")])
    assert again[0]["status"] == "updated"
    assert Product.objects.get(sku="SKU-000002").name == "New name"


def test_invalid_records_do_not_keep_out_the_others(client: Client) -> None:
    feed = [product(1), product(2, price="much"), "not a product", product(3)]
    answer = post_json(client, feed).json()
    assert [result["status"] for result in answer["results"]] == ["created", "invalid", "invalid", "created"]
    assert answer["results"][1]["errors"] == {"price": 'must be a decimal such as "12.34"'}
    assert answer["results"][2] == {
        "record": 3, "sku": None, "status": "invalid", "errors": {"record": "must be an object"},
    }  # fmt: skip
    assert list(Product.objects.values_list("sku", flat=True)) == ["SKU-000001", "SKU-000003"]


def test_unreadable_lines_do_not_keep_out_the_others(client: Client) -> None:
    too_long = b'"' + b"x" * (3 * MAX_LINE) + b'"'
    lines = post_ndjson(
        client, [product(1), b'{"sku": 1', b"\xff", too_long, b"NaN", b"[" * 100_000, b"1e" + b"9" * 30, product(2)]
    )
    errors = [line["errors"].get("record", "") for line in lines[:-1]]
    assert errors == [
        "",
        "is not JSON: Expecting ',' delimiter at column 10",
        "is not UTF-8: invalid start byte at byte 0",
        f"is longer than {MAX_LINE} bytes",
        "is not usable as JSON: NaN is not a number",
        errors[5],
        f"is not usable as JSON: 1e{'9' * 30} is beyond any number",
        "",
    ]
    assert "recursion" in errors[5]
    assert [line["record"] for line in lines[:-1]] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lines[-1]["totals"] == {"records": 8, "created": 2, "updated": 0, "valid": 0, "invalid": 6}


@pytest.mark.parametrize("count", [3, 1203])
def test_both_forms_say_and_store_the_same(client: Client, count: int) -> None:
    feed: list[Any] = [product(number) for number in range(1, count + 1)]
    feed[1]["price"] = "free"
    by_json = post_json(client, feed).json()
    stored = list(
        Product.objects.order_by("sku").values("sku", "name", "category__name", "description", "price", "stock")
    )
    Product.objects.all().delete()
    by_lines = post_ndjson(client, feed)
    assert by_lines[:-1] == by_json["results"]
    assert by_lines[-1]["totals"] == by_json["totals"] == {
        "records": count, "created": count - 1, "updated": 0, "valid": 0, "invalid": 1,
    }  # fmt: skip
    assert stored == list(
        Product.objects.order_by("sku").values("sku", "name", "category__name", "description", "price", "stock")
    )


def test_of_two_records_with_one_sku_the_later_is_kept(client: Client) -> None:
    feed = [product(1, name="First"), product(2), product(1, name="Second")]
    for results in (post_json(client, feed).json()["results"], post_ndjson(client, [*feed])[:-1]):
        assert [result["status"] for result in results] in (["created", "created", "updated"], ["updated"] * 3)
        assert Product.objects.get(sku="SKU-000001").name == "Second"


def test_dry_run_touches_no_table(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    feed = [product(1), product(2, stock=-1)]
    with django_assert_num_queries(0):
        answer = post_json(client, feed, "?dry_run=1").json()
        lines = post_ndjson(client, [*feed], "?dry_run=1")
    assert answer["dry_run"] is True
    assert answer["totals"] == {"records": 2, "created": 0, "updated": 0, "valid": 1, "invalid": 1}
    assert lines == [*answer["results"], {"dry_run": True, "totals": answer["totals"]}]
    assert not Product.objects.exists()
    assert not Category.objects.exists()


@pytest.mark.parametrize("value", ["true", "yes", "", "2"])
def test_dry_run_is_never_guessed(client: Client, value: str) -> None:
    response = post_json(client, [product(1)], f"?dry_run={value}")
    assert (response.status_code, response.json()) == (400, {"error": "dry_run must be 1 or 0"})
    assert not Product.objects.exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'[{"sku": "A"},\n {"sku": }]', {"error": "not JSON: Expecting value", "line": 2, "column": 10}),
        (b" ", {"error": "not JSON: Expecting value", "line": 1, "column": 2}),
        (b'["ab\xff"]', {"error": "not UTF-8: invalid start byte", "byte": 4}),
        (b'{"items": []}', {"error": 'a feed is a list of products, or {"products": [...]}'}),
        (b"7", {"error": 'a feed is a list of products, or {"products": [...]}'}),
        (b"[NaN]", {"error": "not usable as JSON: NaN is not a number"}),
    ],
)
def test_feed_that_cannot_be_read_says_where(client: Client, body: bytes, expected: dict[str, Any]) -> None:
    response = post_json(client, body)
    assert (response.status_code, response.json()) == (400, expected)


@pytest.mark.parametrize("body", [b"[" * 9_000, b"[" + b"9" * 10_000 + b"]", b"[1e" + b"9" * 30 + b"]"])
def test_feed_made_to_break_the_parser_is_refused(client: Client, body: bytes) -> None:
    response = post_json(client, body)
    assert response.status_code == 400
    # Newer Pythons nest more deeply, and find the end of the body before they find too many brackets.
    assert response.json()["error"].startswith(("not usable as JSON", "not JSON: Expecting value"))


def test_body_over_the_limit_is_refused(client: Client, settings: Settings) -> None:
    settings.MAX_BODY = 900
    response = post_json(client, [product(1), product(2)])
    assert response.status_code == 413
    assert response.json()["limit"] == 900
    assert "application/x-ndjson" in response.json()["error"]
    assert post_ndjson(client, [product(1), product(2)])[-1]["totals"]["created"] == 2


def test_other_content_types_and_methods_are_refused(client: Client) -> None:
    response = client.post("/catalog/import/", b"sku,name", content_type="text/csv")
    assert response.status_code == 415
    assert "application/x-ndjson" in response.json()["error"]
    assert client.get("/catalog/import/").status_code == 405


def test_a_compressed_body_is_refused(client: Client) -> None:
    response = post_json(client, gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"})
    assert (response.status_code, response.json()) == (
        415,
        {"error": "Content-Encoding gzip is not read: send it plain"},
    )


def test_body_that_ends_too_early(client: Client) -> None:
    """When a client goes away, reading the body fails; that gives one JSON answer and no traceback."""

    class Torn:
        def read(self, size: int = -1) -> bytes:
            raise OSError("the client went away")

        readline = read

    answers = []
    for content_type in ("application/json", "application/x-ndjson"):
        response: Any = client.request(
            REQUEST_METHOD="POST",
            PATH_INFO="/catalog/import/",
            CONTENT_TYPE=content_type,
            CONTENT_LENGTH="100",
            **{"wsgi.input": Torn()},
        )
        answers.append((response.status_code, json.loads(response.getvalue())["error"]))
    assert answers == [(400, "the body ended too early"), (400, "the body ended too early")]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "text/csv"])
def test_whole_body_is_read_before_the_answer_begins(client: Client, settings: Settings, content_type: str) -> None:
    """nginx stops sending a body once an answer begins, and uWSGI resets the connection if part of a body is unread."""
    settings.MAX_BODY = 1000
    body = b"\n".join(json.dumps(product(number)).encode() for number in range(1, 1001))
    stream = io.BytesIO(body)
    response: Any = client.request(
        REQUEST_METHOD="POST",
        PATH_INFO="/catalog/import/",
        CONTENT_TYPE=content_type,
        CONTENT_LENGTH=str(len(body)),
        **{"wsgi.input": stream},
    )
    assert response.status_code == {"application/json": 413, "application/x-ndjson": 200, "text/csv": 415}[content_type]
    assert stream.tell() == len(body)
