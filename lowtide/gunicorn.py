"""The adapter for gunicorn, two lines in gunicorn.conf.py:

    from lowtide.gunicorn import give_back
    post_worker_init = give_back

gunicorn's own hook after a request, post_request, is called too early: its caller still holds the environ, the response
and the last part of the body (gunicorn/workers/sync.py, handle_request). So heap is given back when the worker has
finished with the connection (`handle`, which the sync, gthread and gevent workers have) and the request is free.
Everything loaded before is frozen (gc.freeze), because a garbage collection writes into every object that it tracks;
with preload_app that would copy every page that the workers share.
GIVE_BACK_MB in the environment is the threshold in MiB: 8 by default, 0 for never.
"""

import gc
from typing import Any

from lowtide.give_back import GiveBack, threshold_mb


def give_back(worker: Any) -> None:
    """A hook for post_worker_init: this worker gives heap back after each request that made it grow."""
    threshold = threshold_mb()
    handle = getattr(worker, "handle", None)
    if handle is None:
        worker.log.warning(
            "lowtide: %s has no handle(): nothing is given back. For an ASGI worker wrap the application: "
            "lowtide.asgi.give_back(application)",
            type(worker).__name__,
        )
    if handle is None or not threshold:
        return
    gc.freeze()
    done = GiveBack(threshold)

    def handle_and_give_back(*arguments: Any) -> Any:
        try:
            return handle(*arguments)
        finally:
            done()

    worker.handle = handle_and_give_back
