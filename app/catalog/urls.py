"""Addresses under /catalog/."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from catalog import exports, imports, views
from catalog.models import SKU_PATTERN


class SkuConverter(StringConverter):
    regex = SKU_PATTERN


register_converter(SkuConverter, "sku")

app_name = "catalog"
urlpatterns = [
    path("", views.product_list, name="list"),
    path("report/", views.report, name="report"),
    path("import/", imports.import_feed, name="import"),
    path("export.json", exports.export_json, name="export-json"),
    path("export.csv", exports.export_csv, name="export-csv"),
    path("export.ndjson", exports.stream_ndjson, name="stream-ndjson"),
    path("export-stream.csv", exports.stream_csv, name="stream-csv"),
    path("<sku:sku>/", views.product, name="product"),
]
