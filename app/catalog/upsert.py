"""Storing valid records: insert the new ones, update the others."""

from collections.abc import Iterable

from django.db import transaction

from catalog.feed import Record
from catalog.models import Category, Product

# Rows a statement.
BATCH = 500


@transaction.atomic
def upsert(records: Iterable[Record]) -> set[str]:
    """Store every record in one transaction; the SKUs that were not there before.

    Of two records with the same SKU the later one is kept, as if they had been stored one after the other.
    """
    by_sku = {record.sku: record for record in records}
    # In the order of their SKUs: two imports at once then wait for each other's rows instead of deadlocking.
    skus = sorted(by_sku)
    known = stored(skus)
    category_ids = store_categories({record.category for record in by_sku.values()})
    Product.objects.bulk_create(
        (
            Product(
                sku=record.sku,
                name=record.name,
                category_id=category_ids[record.category],
                description=record.description,
                price=record.price,
                stock=record.stock,
            )
            for record in map(by_sku.__getitem__, skus)
        ),
        BATCH,
        update_conflicts=True,
        unique_fields=["sku"],
        update_fields=["name", "category", "description", "price", "stock", "updated_at"],
    )
    return by_sku.keys() - known


def stored(skus: list[str]) -> set[str]:
    """Those of `skus` that the catalogue has already."""
    found: set[str] = set()
    for start in range(0, len(skus), BATCH):
        some = skus[start : start + BATCH]
        found.update(Product.objects.filter(sku__in=some).values_list("sku", flat=True))
    return found


def store_categories(names: set[str]) -> dict[str, int]:
    """The id of every category by its name, those in `names` included."""
    known: dict[str, int] = dict(Category.objects.values_list("name", "id"))
    if new := sorted(names - known.keys()):
        Category.objects.bulk_create([Category(name=name) for name in new], BATCH, ignore_conflicts=True)
        known = dict(Category.objects.values_list("name", "id"))
    return known
