"""manage.py seed_catalog"""

from typing import Any

import pytest
from catalog.feed import Record, clean
from catalog.management.commands.seed_catalog import LONGEST, SHORTEST, made_up
from catalog.models import Product
from django.core.management import CommandError, call_command

pytestmark = pytest.mark.django_db

FIELDS = ("sku", "name", "category__name", "description", "price", "stock")


def seeded(products: int, seed: int) -> list[Any]:
    call_command("seed_catalog", products=products, seed=seed, verbosity=0)
    return list(Product.objects.order_by("sku").values_list(*FIELDS))


def test_the_same_seed_makes_the_same_products() -> None:
    first = seeded(600, seed=1)
    keys = list(Product.objects.order_by("sku").values_list("id", flat=True))
    assert first == seeded(600, seed=1)
    assert keys == list(Product.objects.order_by("sku").values_list("id", flat=True))
    assert first != seeded(600, seed=2)
    assert len(first) == 600


def test_a_product_does_not_depend_on_how_many_there_are() -> None:
    few = seeded(20, seed=3)
    assert seeded(40, seed=3)[:20] == few


def test_products_are_valid_and_varied() -> None:
    products = [made_up(1, number) for number in range(1, 501)]
    lengths = [len(product.description) for product in products]
    assert SHORTEST <= min(lengths) < 500
    assert 3500 < max(lengths) <= LONGEST
    assert len({product.category for product in products}) == 9
    assert len({product.name for product in products}) > 300
    for product in products:
        raw = {name: getattr(product, name) for name in Record.__dataclass_fields__}
        assert clean(raw) == product


def test_it_says_what_it_did_and_shows_no_bar_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    call_command("seed_catalog", products=3)
    call_command("seed_catalog", products=5)
    captured = capfd.readouterr()
    assert captured.out == "3 products created, 0 updated\n2 products created, 3 updated\n"
    assert captured.err == ""


@pytest.mark.parametrize("products", [0, -5, 1_000_000])
def test_impossible_number_is_refused(products: int) -> None:
    with pytest.raises(CommandError, match=f"--products {products}: write a number"):
        call_command("seed_catalog", products=products)
