"""The pages of the admin. However much data there is, they stay small: no page lists all categories to choose from."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from catalog.models import Category, Product

# The most objects that a page names before something is deleted.
NAMED = 100


class BoundedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *place: Any, **others: Any
    ) -> HttpResponse | None:
        """Run an action, unless more was chosen than one page shows, because the next page would name each object."""
        if request.POST.get("select_across") == "1" and queryset.count() > self.list_max_show_all:
            self.message_user(request, f"Choose at most {self.list_max_show_all} at once.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *place, **others)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What would be deleted, and what prevents it. A page shows only the first of each."""
        going, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return first(going), counts, lacking, first(protected)


def first(names: Iterable[Any]) -> list[Any]:
    """The nested lists, each cut to NAMED names in all."""
    shown: list[Any] = []
    for name in names:
        if len(shown) == NAMED:
            return [*shown, "and more"]
        shown.append(first(name) if isinstance(name, list) else name)
    return shown


@admin.register(Category)
class CategoryAdmin(BoundedAdmin):
    search_fields = ("name",)


@admin.register(Product)
class ProductAdmin(BoundedAdmin):
    list_display = ("sku", "name", "category", "price", "stock", "updated_at")
    list_select_related = ("category",)
    search_fields = ("sku", "name", "category__name")
    autocomplete_fields = ("category",)
    readonly_fields = ("updated_at",)
