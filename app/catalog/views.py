"""The pages that people look at."""

from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from catalog.models import Category, Product

PER_PAGE = 24
# However much data there is, a page shows only this many categories, and the report only this many products.
CATEGORIES = 40
REPORT_PRODUCTS = 20_000
# The most characters of a search. A longer one would only take up the time of the database.
LONGEST_QUERY = 200


@require_safe
def product_list(request: HttpRequest) -> HttpResponse:
    """One page of the products that match ?q= and ?category=. If ?page= is out of range, the nearest page is shown."""
    query = request.GET.get("q", "")[:LONGEST_QUERY].strip()
    category = request.GET.get("category", "")[:LONGEST_QUERY].strip()
    products = Product.objects.select_related("category").defer("description")
    if category:
        products = products.filter(category__name=category)
    # Every word must occur in the name or begin the SKU. On PostgreSQL the index product_by_word finds these products;
    # SQLite reads every product.
    for word in query.split()[:10]:
        products = products.filter(Q(name__icontains=word) | Q(sku__istartswith=word))
    paginator = Paginator(products, PER_PAGE)
    page = paginator.get_page(request.GET.get("page"))
    # Fetch one more than is shown, to know whether there are more.
    categories = list(Category.objects.all()[: CATEGORIES + 1])
    return render(
        request,
        "catalog/list.html",
        {
            "page": page,
            "pages": paginator.get_elided_page_range(page.number, on_each_side=1, on_ends=1),
            "query": query,
            "category": category,
            "categories": categories[:CATEGORIES],
            "more_categories": len(categories) > CATEGORIES,
        },
    )


@require_safe
def product(request: HttpRequest, sku: str) -> HttpResponse:
    item = get_object_or_404(Product.objects.select_related("category"), sku=sku)
    return render(request, "catalog/product.html", {"product": item})


@require_safe
def report(request: HttpRequest) -> HttpResponse:
    """All products on one page, to be printed. The whole page is rendered in memory."""
    wanted = Product.objects.select_related("category").order_by("category__name", "name", "sku")
    products = list(wanted[: REPORT_PRODUCTS + 1])
    more = len(products) > REPORT_PRODUCTS
    del products[REPORT_PRODUCTS:]
    value = sum(product.price * product.stock for product in products)
    return render(request, "catalog/report.html", {"products": products, "value": value, "more": more})
