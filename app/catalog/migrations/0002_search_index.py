"""On PostgreSQL the search of the list finds its products by trigrams, so that it need not read every product."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

# Django compares UPPER(...) in a search that ignores case, so that is what is indexed.
INDEX = """CREATE INDEX product_by_word ON catalog_product
    USING gin (UPPER(name::text) gin_trgm_ops, UPPER(sku::text) gin_trgm_ops)"""


def create(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    """A server without the extension, and SQLite, go on without the index."""
    if editor.connection.vendor != "postgresql":
        return
    with editor.connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'")
        available = cursor.fetchone()
    if available:
        editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        editor.execute(INDEX)


def drop(apps: StateApps, editor: BaseDatabaseSchemaEditor) -> None:
    if editor.connection.vendor == "postgresql":
        editor.execute("DROP INDEX IF EXISTS product_by_word")


class Migration(migrations.Migration):
    dependencies = (("catalog", "0001_products"),)

    operations = (migrations.RunPython(create, drop),)
