"""Hands requests that have turned out to be large from a small worker to the large pool, unread and not yet begun.

With LEARN_ROUTES=1 a worker for small requests looks, before it calls the application and before it reads the body,
whether requests of this kind were large so far (lowtide.kinds). Such a request it refuses with

    421 Misdirected Request
    X-Accel-Redirect: @learned_large

and nginx sends it, with the same method and the body that it still has, to the workers for large requests
(nginx/site.conf). The application sees it only there, so nothing runs twice. A worker for large requests hands nothing
on. It counts too: when a kind is no longer large, small workers keep it. The list in lowtide.toml is the better place
for a route that is known to be large: nginx then sends it to the large pool at once.
"""

import os
from collections.abc import Callable, Container, Iterable
from typing import Any

from lowtide.kinds import LARGE_MB, Kinds, kind
from lowtide.wsgi import Application, Environ

# The location of nginx/site.conf. A named location keeps the method, where a path would turn it into GET.
LOCATION = "@learned_large"


class Handoff:
    """The kinds of requests that are large, shared by all workers. Make it before the fork."""

    def __init__(self) -> None:
        self._kinds = Kinds()
        self._mine: int | None = None

    def applied(self, application: Application, worker: Callable[[], int], large: Container[int]) -> Application:
        """Wrap the application so that workers whose numbers are not in `large` hand large requests on."""

        def handing(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            wanted = kind(environ)
            if worker() not in large and self._kinds.is_large(wanted):
                start_response("421 Misdirected Request", [("X-Accel-Redirect", LOCATION), ("Content-Length", "0")])
                return []
            self._mine = wanted
            return application(environ, start_response)

        return handing

    def end(self, peak_mb: float | None) -> None:
        """Call this at the end of a request. `peak_mb` is what it took; None where that is not known."""
        wanted, self._mine = self._mine, None
        # A kind that was never large needs no place in the table.
        if wanted is not None and peak_mb is not None and (peak_mb >= LARGE_MB or self._kinds.knows(wanted)):
            self._kinds.note(wanted, peak_mb)


def handoff() -> Handoff | None:
    """None unless LEARN_ROUTES=1 is in the environment."""
    return Handoff() if os.environ.get("LEARN_ROUTES") == "1" else None
