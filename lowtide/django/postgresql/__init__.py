"""Django's backend for PostgreSQL, with time limits: ENGINE = "lowtide.django.postgresql"."""
