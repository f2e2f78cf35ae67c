"""The whole catalogue as JSON, CSV or NDJSON, in the shape that /catalog/import/ takes.

Each of the first two is built in memory, row upon row, before the first byte leaves. The stream_ views send the same
rows while they come from the database: one part of about 64 KB is in memory at a time. A stream has no length that a
client could compare, so its last record says how many came before: without it, the export was cut.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_safe

from catalog.models import Product
from lowtide.django.access import token_or_permission

FIELDS = ("sku", "name", "category", "description", "price", "stock")
# How many rows are fetched at a time. On PostgreSQL they come through a server-side cursor.
CHUNK = 200
PART_BYTES = 64 * 1024
# A spreadsheet treats a cell that begins with one of these as a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, str | int]
R = TypeVar("R", bound=HttpResponseBase)


def rows(products: Iterable[Product]) -> Iterator[Row]:
    for product in products:
        yield {
            "sku": product.sku,
            "name": product.name,
            "category": product.category.name,
            "description": product.description,
            "price": str(product.price),
            "stock": product.stock,
        }


def all_rows() -> Iterator[Row]:
    return rows(Product.objects.select_related("category").order_by("sku"))


def streamed_rows() -> Iterator[Row]:
    return rows(Product.objects.select_related("category").order_by("sku").iterator(CHUNK))


@token_or_permission("IMPORT_TOKEN", "catalog.view_product")
@require_safe
def export_json(request: HttpRequest) -> JsonResponse:
    return as_file(JsonResponse({"products": list(all_rows())}), "products.json")


@token_or_permission("IMPORT_TOKEN", "catalog.view_product")
@require_safe
def export_csv(request: HttpRequest) -> HttpResponse:
    return as_file(HttpResponse("".join(csv_lines(all_rows())), content_type="text/csv"), "products.csv")


@token_or_permission("IMPORT_TOKEN", "catalog.view_product")
@require_safe
def stream_ndjson(request: HttpRequest) -> StreamingHttpResponse:
    lines = parts(ndjson_lines(streamed_rows()))
    return as_file(StreamingHttpResponse(lines, content_type="application/x-ndjson"), "products.ndjson")


@token_or_permission("IMPORT_TOKEN", "catalog.view_product")
@require_safe
def stream_csv(request: HttpRequest) -> StreamingHttpResponse:
    lines = parts(csv_lines(streamed_rows(), end=True))
    return as_file(StreamingHttpResponse(lines, content_type="text/csv"), "products.csv")


def ndjson_lines(some_rows: Iterable[Row]) -> Iterator[str]:
    """A line for each record, and a last line {"end": true, "records": N}, which an import checks."""
    records = 0
    for row in some_rows:
        yield json.dumps(row) + "\n"
        records += 1
    yield json.dumps({"end": True, "records": records}) + "\n"


def csv_lines(some_rows: Iterable[Row], end: bool = False) -> Iterator[str]:
    """A head, a line for each record, and with `end` a last line "#end" and their number. No SKU begins with "#"."""
    text = io.StringIO()
    writer = csv.writer(text)

    def line(cells: Iterable[object]) -> str:
        text.seek(0)
        text.truncate()
        writer.writerow(cells)
        return text.getvalue()

    yield line(FIELDS)
    records = 0
    for row in some_rows:
        yield line(no_formula(row[field]) for field in FIELDS)
        records += 1
    if end:
        yield line(["#end", records, *[""] * (len(FIELDS) - 2)])


def no_formula(cell: str | int) -> str | int:
    """The cell, with an apostrophe in front if a spreadsheet would compute it. Spreadsheets hide the apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def parts(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines, joined into parts of about PART_BYTES, because a write to the server for each line would be slow."""
    part = bytearray()
    for line in lines:
        part += line.encode()
        if len(part) >= PART_BYTES:
            yield bytes(part)
            part.clear()
    yield bytes(part)


def as_file(response: R, name: str) -> R:
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
