"""The whole catalogue, built in memory or streamed: the same rows in every format."""

import csv
import json
from typing import Any

import pytest
from catalog.feed import clean
from catalog.models import Product
from catalog.upsert import upsert
from django.test import Client

from tests.app.feeds import fill, post_json, product

pytestmark = pytest.mark.django_db

ODD = product(999, name='Quotes " and, commas', description="Two\nlines\tand \u20ac", price="0")


def exported(client: Client, path: str, streaming: bool) -> str:
    response: Any = client.get(f"/catalog/{path}")
    assert response.status_code == 200
    assert response.streaming is streaming
    assert response["Content-Disposition"].startswith("attachment")
    content: bytes = response.getvalue()
    return content.decode()


def test_every_format_holds_the_same_rows(client: Client) -> None:
    fill(450)
    upsert([clean(ODD)])
    rows = json.loads(exported(client, "export.json", streaming=False))["products"]
    assert len(rows) == 451
    assert rows[-1] == ODD | {"price": "0.00"}
    assert [json.loads(line) for line in exported(client, "export.ndjson", streaming=True).splitlines()] == rows

    in_memory, streamed = exported(client, "export.csv", streaming=False), exported(client, "export-stream.csv", True)
    assert in_memory == streamed
    as_text = [{name: str(value) for name, value in row.items()} for row in rows]
    assert list(csv.DictReader(in_memory.splitlines(keepends=True))) == as_text


def test_export_can_be_imported_again(client: Client) -> None:
    fill(3)
    before = exported(client, "export.json", streaming=False)
    Product.objects.all().delete()
    assert post_json(client, before.encode()).json()["totals"]["created"] == 3
    assert exported(client, "export.json", streaming=False) == before


@pytest.mark.parametrize("path", ["export.json", "export.csv", "export.ndjson", "export-stream.csv"])
def test_empty_catalogue(client: Client, path: str) -> None:
    text = exported(client, path, streaming=path in ("export.ndjson", "export-stream.csv"))
    assert "SKU-" not in text
    assert client.post(f"/catalog/{path}").status_code == 405


def test_stream_comes_in_parts(client: Client) -> None:
    """The first part leaves while most of the catalogue is still in the database."""
    fill(600)
    for path in ("export.ndjson", "export-stream.csv"):
        response: Any = client.get(f"/catalog/{path}")
        sizes = [len(part) for part in response.streaming_content]
        assert len(sizes) > 3
        assert max(sizes) < 80 * 1024
