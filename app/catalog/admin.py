"""The admin's pages. Nothing on them grows without bound with the data: nothing lists all categories to choose from."""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from catalog.models import Category, Product

# Objects that a page names before something is deleted.
NAMED = 100


class BoundedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *place: Any) -> HttpResponse | None:
        """An action on what was chosen, unless that is more than a page shows: the next page would name each."""
        if request.POST.get("select_across") == "1" and queryset.count() > self.list_max_show_all:
            self.message_user(request, f"Choose at most {self.list_max_show_all} at once.", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *place)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """What would go, and what keeps it from going: on a page, the first of each."""
        going, counts, lacking, protected = super().get_deleted_objects(objs, request)
        return first(going), counts, lacking, first(protected)


def first(names: Iterable[Any]) -> list[Any]:
    """The first of nested lists of names, NAMED in all at most in each."""
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
