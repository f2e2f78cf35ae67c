from django.contrib import admin

from catalog.models import Category, Product


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    search_fields = ("name",)


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # takes none at run time
    list_display = ("sku", "name", "category", "price", "stock", "updated_at")
    list_filter = ("category",)
    list_select_related = ("category",)
    search_fields = ("sku", "name")
    readonly_fields = ("updated_at",)
