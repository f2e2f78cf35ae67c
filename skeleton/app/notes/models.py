from django.db import models


class Note(models.Model):
    number = models.PositiveIntegerField(unique=True)
    title = models.CharField(max_length=200)
    text = models.TextField()

    class Meta:
        ordering = ("number",)

    def __str__(self) -> str:
        return self.title
