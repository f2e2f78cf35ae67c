"""Health checks: is the process alive, and can it serve?"""

import functools
import logging
from collections.abc import Callable

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse

log = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers /healthz and /readyz, before anything in MIDDLEWARE that could have a say in it.

    Load balancers and container engines ask over plain HTTP with an address of their choice as Host: the redirect
    to HTTPS and ALLOWED_HOSTS would answer them 301 and 400.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path == "/readyz":
            missing = what_is_missing()
            status = "unavailable" if missing else "ready"
            return JsonResponse({"status": status, "missing": missing}, status=503 if missing else 200)
        return self.get_response(request)


def what_is_missing() -> dict[str, object]:
    """What keeps this process from serving: {} when nothing does. Two small queries."""
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except DatabaseError:
        log.exception("The database does not answer")
        return {"database": "does not answer; the log says why"}
    unapplied = sorted(f"{app}.{name}" for app, name in expected_migrations() - applied.keys())
    return {"migrations": unapplied} if unapplied else {}


@functools.cache
def expected_migrations() -> frozenset[tuple[str, str]]:
    """Every migration in the code, as (app, name). Read once: the code does not change under a running process."""
    return frozenset(MigrationLoader(None).graph.nodes)
