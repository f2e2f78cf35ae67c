"""The whole catalogue, built in memory or streamed: the same rows in every format."""

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from catalog.feed import clean
from catalog.models import Product
from catalog.upsert import upsert
from django.test import Client

from tests.app.feeds import fill, post_json, post_ndjson, product

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
    *lines, end = exported(client, "export.ndjson", streaming=True).splitlines()
    assert [json.loads(line) for line in lines] == rows
    assert json.loads(end) == {"end": True, "records": 451}

    in_memory, streamed = exported(client, "export.csv", streaming=False), exported(client, "export-stream.csv", True)
    assert in_memory + "#end,451,,,,\r\n" == streamed
    as_text = [{name: str(value) for name, value in row.items()} for row in rows]
    assert list(csv.DictReader(in_memory.splitlines(keepends=True))) == as_text


@pytest.mark.parametrize("path", ["export.json", "export.ndjson"])
def test_export_can_be_imported_again(client: Client, path: str) -> None:
    fill(3)
    before = exported(client, path, streaming=path == "export.ndjson")
    Product.objects.all().delete()
    if path == "export.json":
        totals = post_json(client, before.encode()).json()["totals"]
    else:
        totals = post_ndjson(client, [*before.encode().splitlines()])[-1]["totals"]
    assert (totals["created"], totals["invalid"]) == (3, 0)
    assert exported(client, path, streaming=path == "export.ndjson") == before


@pytest.mark.parametrize("path", ["export.ndjson", "export-stream.csv"])
def test_a_stream_that_was_cut_can_be_told(client: Client, path: str) -> None:
    """If the server is killed while it sends, the client sees a proper end of the answer, whatever is missing."""
    fill(450)
    whole = exported(client, path, streaming=True)
    last = whole.splitlines()[-1]
    assert "450" in last
    for missing in (3, 100, 10_000):
        assert whole[:-missing].splitlines()[-1] != last


FORMULAS = ["=1+1", "+1", "-1", "@SUM(1)", '=HYPERLINK("http://example.com")']


@pytest.mark.parametrize("path", ["export.csv", "export-stream.csv"])
def test_no_cell_is_a_formula(client: Client, path: str) -> None:
    upsert(
        clean(product(number, name=formula, category=formula, description=formula))
        for number, formula in enumerate(FORMULAS, start=1)
    )
    # This product was not stored by an import.
    upsert([replace(clean(product(9)), description="\t=1+1"), replace(clean(product(10)), description="\r=1+1")])
    rows = list(csv.reader(io.StringIO(exported(client, path, streaming=path == "export-stream.csv"), newline="")))
    cells = [cell for row in rows for cell in row]
    assert sum(cell.startswith("'") for cell in cells) == 3 * len(FORMULAS) + 2
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    shown = exported(client, "export.json", streaming=False)
    assert json.loads(shown)["products"][0]["name"] == FORMULAS[0]


@pytest.mark.parametrize("path", ["export.json", "export.csv", "export.ndjson", "export-stream.csv"])
def test_empty_catalogue(client: Client, path: str) -> None:
    text = exported(client, path, streaming=path in ("export.ndjson", "export-stream.csv"))
    assert "SKU-" not in text
    assert client.post(f"/catalog/{path}").status_code == 405


def test_stream_comes_in_parts(client: Client) -> None:
    """The first part is sent while most of the catalogue has not been read yet."""
    fill(600)
    for path in ("export.ndjson", "export-stream.csv"):
        response: Any = client.get(f"/catalog/{path}")
        sizes = [len(part) for part in response.streaming_content]
        assert len(sizes) > 3
        assert max(sizes) < 80 * 1024
