"""The tables of the catalogue."""

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models
from django.urls import reverse

# Capitals only, so that the address of a product is never /catalog/import/ or /catalog/report/.
SKU_PATTERN = r"[A-Z0-9][A-Z0-9-]{0,31}"


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "categories"

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    sku = models.CharField(
        "SKU",
        max_length=32,
        unique=True,
        validators=[RegexValidator(rf"^{SKU_PATTERN}\Z", "Capitals, digits and hyphens.")],
    )
    name = models.CharField(max_length=200)
    # The index product_by_category serves this field, too.
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="products", db_index=False)
    description = models.TextField()
    price = models.DecimalField(max_digits=10, decimal_places=2, validators=[MinValueValidator(0)])
    stock = models.PositiveIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name", "sku")
        indexes = (
            # The list, a page of it, and a page of one category, each in the order in which it is shown.
            models.Index(fields=("name", "sku"), name="product_by_name"),
            models.Index(fields=("category", "name", "sku"), name="product_by_category"),
        )

    def __str__(self) -> str:
        return f"{self.sku} {self.name}"

    def get_absolute_url(self) -> str:
        return reverse("catalog:product", args=[self.sku])
