"""Django's backend for PostgreSQL, with bounds on waiting: ENGINE = "lowtide.django.postgresql"."""
