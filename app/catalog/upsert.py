"""Storing valid records: insert the new ones, update the others."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal

from django.db import connection, transaction

from catalog.feed import Record
from catalog.models import Category, Product

# How many rows one statement stores.
BATCH = 500
# The number of the advisory lock in PostgreSQL that imports take. Any number will do that nothing else in the database
# uses.
LOCK = 7_269_436_583

Values = tuple[str, int, str, Decimal, int]


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """One transaction for everything that a feed stores. It waits until those of other feeds have ended.

    Two feeds with the same products in another order would each wait for rows that the other one has. SQLite has one
    writer anyway.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        yield


@transaction.atomic(savepoint=False)
def upsert(records: Iterable[Record]) -> set[str]:
    """Store every record in one transaction; returns the SKUs that were not there before.

    Of two records with the same SKU the later one is kept, as if they had been stored one after the other. What is
    stored already is not written again.
    """
    by_sku = {record.sku: record for record in records}
    skus = sorted(by_sku)
    category_ids = store_categories({record.category for record in by_sku.values()})
    values: dict[str, Values] = {
        sku: (record.name, category_ids[record.category], record.description, record.price, record.stock)
        for sku, record in by_sku.items()
    }
    known = stored(skus)
    Product.objects.bulk_create(
        (
            Product(sku=sku, name=name, category_id=category, description=description, price=price, stock=stock)
            for sku in skus
            if known.get(sku) != values[sku]
            for name, category, description, price, stock in (values[sku],)
        ),
        BATCH,
        update_conflicts=True,
        unique_fields=["sku"],
        update_fields=["name", "category", "description", "price", "stock", "updated_at"],
    )
    return by_sku.keys() - known.keys()


def stored(skus: list[str]) -> dict[str, Values]:
    """The values that the catalogue already has of the products `skus`."""
    known: dict[str, Values] = {}
    for start in range(0, len(skus), BATCH):
        products = Product.objects.filter(sku__in=skus[start : start + BATCH])
        for product in products.values_list("sku", "name", "category_id", "description", "price", "stock"):
            known[product[0]] = product[1:]
    return known


def store_categories(names: set[str]) -> dict[str, int]:
    """The id of each category in `names`. Categories that are new are made."""
    known = category_ids(names)
    if new := sorted(names - known.keys()):
        Category.objects.bulk_create([Category(name=name) for name in new], BATCH, ignore_conflicts=True)
        known |= category_ids(set(new))
    return known


def category_ids(names: set[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    wanted = sorted(names)
    for start in range(0, len(wanted), BATCH):
        ids |= Category.objects.filter(name__in=wanted[start : start + BATCH]).values_list("name", "id")
    return ids
