"""How much memory the requests of the application may take and keep: the reasons for the list of large paths."""

from typing import Any

import pytest
from django.test import Client

from tests.app.feeds import fill, post_json, product

# Each is measured several times in processes of its own, which takes seconds.
pytestmark = [pytest.mark.django_db, pytest.mark.slow]
# 0.9 MB of JSON.
FEED = [product(number, description=f"{number} " * 800) for number in range(1, 501)]


@pytest.mark.memory_budget(peak="1 MiB", retained="0.2 MiB")
def test_a_page_takes_next_to_nothing(client: Client, catalog: None) -> None:
    assert client.get("/catalog/").status_code == 200


@pytest.mark.memory_budget(peak="12 MiB", retained="1 MiB")
def test_an_import_takes_a_multiple_of_its_body(client: Client, catalog: None) -> None:
    assert post_json(client, FEED, "?dry_run=1").json()["totals"]["valid"] == len(FEED)


@pytest.mark.memory_budget(peak="12 MiB", retained="1 MiB")
def test_an_export_takes_what_it_answers(client: Client, catalog: None) -> None:
    assert len(client.get("/catalog/export.json").content) > 500_000


@pytest.mark.memory_budget(peak="2 MiB", retained="0.2 MiB")
def test_a_streamed_export_takes_no_more_for_more_products(client: Client, catalog: None) -> None:
    response: Any = client.get("/catalog/export.ndjson")
    assert sum(len(part) for part in response.streaming_content) > 500_000


@pytest.fixture
def catalog() -> None:
    fill(2000)
