"""Feeds for the tests, and ways to send them."""

import json
from typing import TYPE_CHECKING, Any

from catalog.feed import Record, clean
from catalog.upsert import upsert

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse
from django.test import Client

TOKEN = "of-the-tests"


def product(number: int, **changes: object) -> dict[str, Any]:
    """One valid record of a feed."""
    return {
        "sku": f"SKU-{number:06d}",
        "name": f"Thing {number}",
        "category": f"Category {number % 3}",
        "description": f"A thing, number {number}. " * 20,
        "price": f"{number}.99",
        "stock": number % 7,
    } | changes


def fill(count: int) -> list[Record]:
    """Store `count` products, and return their records in the order of their SKUs."""
    records = [clean(product(number)) for number in range(1, count + 1)]
    upsert(records)
    return records


def post_json(
    client: Client, feed: object, query: str = "", headers: dict[str, str] | None = None
) -> "_MonkeyPatchedWSGIResponse":
    body = feed if isinstance(feed, bytes) else json.dumps(feed).encode()
    return client.post(f"/catalog/import/{query}", body, content_type="application/json", headers=headers)


def post_ndjson(client: Client, lines: list[object], query: str = "") -> list[dict[str, Any]]:
    """Post a line for each item (bytes as they are), and return the lines of the answer."""
    body = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    response: Any = client.post(f"/catalog/import/{query}", body, content_type="application/x-ndjson")
    assert response.status_code == 200
    assert response.streaming
    return [json.loads(line) for line in response.getvalue().splitlines()]
