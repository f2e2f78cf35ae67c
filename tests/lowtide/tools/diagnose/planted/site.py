"""A Django project with DEBUG off. Each page has a habit that may look like a leak."""

import itertools
import tempfile
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import Context, Template
from django.urls import path, reverse
from django.utils import translation

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse

folder = tempfile.TemporaryDirectory()
numbers = itertools.count()
shipped = Signal()


def cursors(request: HttpRequest) -> HttpResponse:
    """A few statements on a connection that stays open between requests."""
    with connection.cursor() as cursor:
        for number in range(3):
            cursor.execute("SELECT %s", [number])
    return HttpResponse("planted")


def cached(request: HttpRequest) -> HttpResponse:
    """Django's cache in memory. At 300 entries it drops a third of them."""
    cache.set(f"page-{next(numbers)}", "page " * 400)
    return HttpResponse("planted")


def visits(request: HttpRequest) -> HttpResponse:
    """A session for each visitor without a cookie: a probe, for example."""
    request.session["visits"] = "page " * 100
    return HttpResponse("planted")


def rendered(request: HttpRequest) -> HttpResponse:
    """A template compiled from text for each request, in four languages."""
    with translation.override(("en", "de", "fr", "pl")[next(numbers) % 4]):
        text = Template(
            "{% load i18n %}{% for row in rows %}{{ row }}{% trans 'Yes' %}{% endfor %}" + reverse("cached")
        )
        return HttpResponse(text.render(Context({"rows": range(100)})))


def streamed(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(b"row\n" * 1_000 for _ in range(20))


def leak_receivers(request: HttpRequest) -> HttpResponse:
    """A receiver that the view connects, and that stays connected."""

    feed = bytes(200_000)

    def receiver(**_: Any) -> int:
        return len(feed)

    shipped.connect(receiver, weak=False)
    return HttpResponse("planted")


def leak_requests(request: HttpRequest) -> HttpResponse:
    kept.append(request)
    return HttpResponse("planted")


kept: list[HttpRequest] = []
PAGES = (cursors, cached, visits, rendered, streamed, leak_receivers, leak_requests)
urlpatterns = [path(f"{page.__name__}/", page, name=page.__name__) for page in PAGES]
settings.configure(
    SECRET_KEY="planted",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    INSTALLED_APPS=["django.contrib.sessions"],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.locale.LocaleMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder.name}/db", "CONN_MAX_AGE": None},
    },
)
application = get_wsgi_application()


def refusing(environ: Environ, start_response: StartResponse) -> list[bytes]:
    """The project with a server that raises at the first request."""
    raise RuntimeError("asked")
