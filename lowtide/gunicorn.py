"""The adapter for gunicorn, two lines in gunicorn.conf.py:

    from lowtide.gunicorn import give_back
    post_worker_init = give_back

gunicorn's own hook after a request, post_request, is called too early: its caller still holds the environ, the response
and the last part of the body (gunicorn/workers/sync.py, handle_request). So heap is given back when the worker has
finished with the connection (`handle`, which the sync, gthread and gevent workers have) and the request is free. An
ASGI worker, gunicorn's own or uvicorn's, gets its application wrapped (lowtide.asgi).
Everything loaded before is frozen (gc.freeze), because a garbage collection writes into every object that it tracks;
with preload_app that would copy every page that the workers share.
GIVE_BACK_MB in the environment is the threshold in MiB: 8 by default, 0 for never.
"""

import gc
from inspect import iscoroutinefunction
from typing import Any

from lowtide import asgi
from lowtide.give_back import GiveBack, threshold_mb


def give_back(worker: Any) -> None:
    """A hook for post_worker_init: this worker gives heap back after each request that made it grow."""
    threshold = threshold_mb()
    if not threshold:
        return
    gc.freeze()
    if handle := getattr(worker, "handle", None):
        worker.handle = _followed(handle, GiveBack(threshold))
    elif name := _asgi_attribute(worker):
        setattr(worker, name, asgi.give_back(getattr(worker, name), threshold))
    else:
        worker.log.warning("lowtide: %s is a worker of another kind: nothing is given back", type(worker).__name__)


def _followed(handle: Any, done: GiveBack) -> Any:
    def handle_and_give_back(*arguments: Any) -> Any:
        try:
            return handle(*arguments)
        finally:
            done()

    return handle_and_give_back


def _asgi_attribute(worker: Any) -> str:
    """Where a worker has its ASGI application: gunicorn's own in `asgi`, uvicorn's in `wsgi`. Empty if it has none."""
    for name in ("asgi", "wsgi"):
        application = getattr(worker, name, None)
        if iscoroutinefunction(application) or iscoroutinefunction(type(application).__call__):
            return name
    return ""
