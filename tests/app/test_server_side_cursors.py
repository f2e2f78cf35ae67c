"""Streamed exports come through a server-side cursor. Tests are collected only where the database is PostgreSQL."""

from typing import Any

import pytest
from catalog.exports import CHUNK
from django.db import connection
from django.test import Client

from tests.app.feeds import fill

# No transaction around the test: in production each query is a transaction of its own, and a cursor that outlives
# it needs WITH HOLD.
pytestmark = pytest.mark.django_db(transaction=True)


def open_cursors() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_cursors WHERE is_holdable")
        return [statement for (statement,) in cursor.fetchall() if "catalog_product" in statement]


@pytest.mark.parametrize("path", ["export.ndjson", "export-stream.csv"])
def test_rows_stay_on_the_server_until_they_are_sent(client: Client, path: str) -> None:
    fill(4 * CHUNK)
    response: Any = client.get(f"/catalog/{path}")
    parts = iter(response.streaming_content)
    first = next(parts)
    assert len(open_cursors()) == 1
    rest = b"".join(parts)
    assert (first + rest).count(b"SKU-") == 4 * CHUNK
    assert open_cursors() == []


def test_a_stream_that_is_given_up_leaves_no_cursor(client: Client) -> None:
    fill(4 * CHUNK)
    response: Any = client.get("/catalog/export.ndjson")
    next(iter(response.streaming_content))
    response.close()
    del response
    assert open_cursors() == []


def test_exports_in_memory_use_none(client: Client) -> None:
    fill(10)
    client.get("/catalog/export.json")
    assert open_cursors() == []
