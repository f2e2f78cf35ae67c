"""DEBUG: a Django application that was deployed with DEBUG on."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path


def page(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        for _ in range(20):
            cursor.execute("SELECT 1")
    return HttpResponse("planted")


urlpatterns = [path("", page)]
settings.configure(
    DEBUG=os.environ.get("PLANTED_DEBUG") != "off",
    SECRET_KEY="planted",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
application = get_wsgi_application()
