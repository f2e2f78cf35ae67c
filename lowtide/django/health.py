"""Health checks: whether the process is alive, and whether it can serve."""

import functools
import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse

log = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers /healthz and /readyz. It must stand first in MIDDLEWARE.

    Load balancers and container engines ask over plain HTTP with any address as Host, so the redirect to HTTPS would
    answer 301, and ALLOWED_HOSTS would answer 400.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._missing: dict[str, str] = {}

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain")
        if request.path == "/readyz":
            missing = what_is_missing()
            # Anybody may ask, so the answer does not tell the details. The log does, once for each change.
            if missing != self._missing:
                self._missing = missing
                log.warning("Not ready: %s", missing) if missing else log.info("Ready again")
            status = "unavailable" if missing else "ready"
            told = dict.fromkeys(missing, "the log says why")
            return JsonResponse({"status": status, "missing": told}, status=503 if missing else 200)
        return self.get_response(request)


def what_is_missing() -> dict[str, str]:
    """What keeps this process from serving, and why; empty when it can serve. It costs two small queries."""
    try:
        applied = MigrationRecorder(connection).applied_migrations()
    except (DatabaseError, InterfaceError) as error:
        return {"database": str(error).split("\n", 1)[0]}
    unapplied = sorted(f"{app}.{name}" for app, name in expected_migrations() - applied.keys())
    return {"migrations": ", ".join(unapplied)} if unapplied else {}


@functools.cache
def expected_migrations() -> frozenset[tuple[str, str]]:
    """Every migration in the code, as (app, name). Read only once, because a running process keeps its code."""
    return frozenset(MigrationLoader(None).graph.nodes)
