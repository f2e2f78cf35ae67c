"""The pages that people look at."""

import pytest
from catalog.feed import clean
from catalog.models import Product
from catalog.upsert import upsert
from django.contrib.auth import get_user_model
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from tests.app.feeds import fill, product

pytestmark = pytest.mark.django_db


def names(client: Client, query: str = "") -> list[str]:
    response = client.get(f"/catalog/{query}")
    assert response.status_code == 200
    return [product.name for product in response.context["page"]]


def test_the_front_page_leads_to_the_catalogue(client: Client) -> None:
    response = client.get("/", follow=True)
    assert response.redirect_chain == [("/catalog/", 302)]
    assert "Nothing here" in response.text


def test_list_shows_a_page_at_a_time(client: Client) -> None:
    fill(30)
    first, second = names(client), names(client, "?page=2")
    assert (len(first), len(second)) == (24, 6)
    assert [*first, *second] == list(Product.objects.values_list("name", flat=True))


@pytest.mark.parametrize(("page", "shown"), [("0", 2), ("99", 2), ("two", 1), ("", 1)])
def test_page_out_of_range_shows_the_nearest(client: Client, page: str, shown: int) -> None:
    fill(30)
    assert client.get(f"/catalog/?page={page}").context["page"].number == shown


def test_search_finds_every_word_in_any_case(client: Client) -> None:
    upsert(
        clean(product(number, name=name))
        for number, name in enumerate(["Bronze cleat", "Steel cleat", "Bronze hatch"], start=1)
    )
    assert names(client, "?q=CLEAT+bronze") == ["Bronze cleat"]
    assert names(client, "?q=cleat") == ["Bronze cleat", "Steel cleat"]
    assert names(client, "?q=sku-000003") == ["Bronze hatch"]
    assert names(client, "?q=nothing") == []
    assert names(client, "?q=%25") == []


def test_category_narrows_list_and_search(client: Client) -> None:
    fill(9)
    assert names(client, "?category=Category+1") == ["Thing 1", "Thing 4", "Thing 7"]
    assert names(client, "?category=Category+1&q=4") == ["Thing 4"]


def test_paging_keeps_the_search(client: Client) -> None:
    fill(30)
    assert 'rel="next" href="?q=thing&amp;page=2"' in client.get("/catalog/?q=thing").text


def test_list_needs_few_queries(client: Client, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    fill(30)
    with django_assert_max_num_queries(3):
        client.get("/catalog/")


def test_product_page_escapes_what_it_shows(client: Client) -> None:
    upsert([clean(product(1, name="Rope <b>", description="First & second"))])
    text = client.get("/catalog/SKU-000001/").text
    assert "Rope &lt;b&gt;" in text
    assert "First &amp; second" in text


def test_a_product_cannot_hide_another_page(client: Client) -> None:
    upsert([clean(product(1, sku="report"))])
    assert client.get("/catalog/REPORT/").context["product"].sku == "REPORT"
    assert "Stock report" in client.get("/catalog/report/").text


def test_report_holds_every_product(client: Client) -> None:
    fill(60)
    text = client.get("/catalog/report/").text
    assert text.count("/catalog/SKU-") == 60
    assert "60 products worth" in text


@pytest.mark.parametrize("path", ["/catalog/SKU-NONE/", "/nothing/", "/catalog/sku-000001/"])
def test_unknown_address_gets_a_friendly_page(client: Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert "There is nothing at this address" in response.text


def test_failure_gets_a_friendly_page(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Product, "get_absolute_url", lambda self: 1 / 0)
    fill(1)
    client.raise_request_exception = False
    response = client.get("/catalog/")
    assert response.status_code == 500
    assert "Something went wrong here" in response.text


def test_admin_lists_products(client: Client) -> None:
    fill(2)
    client.force_login(get_user_model().objects.create_superuser("ann", password="a password"))
    for path in ("catalog/product/?q=thing", "catalog/product/add/", "catalog/category/"):
        assert client.get(f"/admin/{path}").status_code == 200


def test_nothing_on_a_page_grows_with_the_data(client: Client) -> None:
    """Every page, the admin's too, with 200 categories and with 1,000, and as many products in one of them."""
    client.force_login(get_user_model().objects.create(username="ann", is_staff=True, is_superuser=True))

    def lengths() -> dict[str, int]:
        one = Product.objects.get(sku="SKU-000001")
        delete = {"action": "delete_selected", "_selected_action": one.pk, "select_across": "1", "index": "0"}
        asked = {
            path: client.get(path)
            for path in (
                "/catalog/",
                "/catalog/?category=None-such",
                "/catalog/SKU-000001/",
                "/admin/",
                "/admin/catalog/product/",
                f"/admin/catalog/product/{one.pk}/change/",
                f"/admin/catalog/product/{one.pk}/history/",
                "/admin/catalog/product/add/",
                "/admin/catalog/category/",
                f"/admin/catalog/category/{one.category_id}/change/",
                f"/admin/catalog/category/{one.category_id}/delete/",
            )
        }
        answers = asked | {"delete_selected": client.post("/admin/catalog/product/", delete, follow=True)}
        assert {answer.status_code for answer in answers.values()} == {200}
        return {path: len(answer.content) for path, answer in answers.items()}

    def grow(first: int, last: int) -> None:
        upsert(clean(product(number, category=f"Category {number:06d}")) for number in range(first, last))
        upsert(clean(product(number + 10_000, category="Category 000001")) for number in range(first, last))

    grow(1, 201)
    before = lengths()
    grow(201, 1001)
    # Allow for longer numbers, and a few more links to further pages.
    assert {path: length for path, length in lengths().items() if length > before[path] + 2000} == {}


def test_the_report_ends(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.views.REPORT_PRODUCTS", 5)
    fill(5)
    assert "there are more" not in client.get("/catalog/report/").text
    fill(6)
    text = client.get("/catalog/report/").text
    assert "there are more" in text
    assert text.count("/catalog/SKU-") == 5
