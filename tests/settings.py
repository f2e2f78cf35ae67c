"""Settings with which mypy reads the tests and lowtide/django where it does not look at the application."""

SECRET_KEY = "not-used"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "lowtide.django"]
