"""test_postgresql.py runs this on a PostgreSQL that has pg_trgm."""

import pytest
from catalog.models import Category, Product
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext


@pytest.mark.django_db(transaction=True)
def test_a_search_reads_only_the_products_that_match(client: Client) -> None:
    hall = Category.objects.create(name="Hall")
    Product.objects.bulk_create(
        Product(sku=f"SKU-{number}", name=f"Lamp {number}", category=hall, price=1, description="Plain. " * 100)
        for number in range(5000)
    )
    with connection.cursor() as cursor:
        # It also moves new entries from the index's list of pending ones to their place, as autovacuum does.
        cursor.execute("VACUUM ANALYZE catalog_product")
    with CaptureQueriesContext(connection) as asked:
        assert client.get("/catalog/?q=4321").status_code == 200
    searches = [query["sql"] for query in asked if "LIKE" in query["sql"]]
    assert len(searches) == 2, "the count and the page"
    for search in searches:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {search}")
            plan = "\n".join(row for (row,) in cursor.fetchall())
        assert "product_by_word" in plan, plan
        assert "Seq Scan on catalog_product" not in plan, plan
