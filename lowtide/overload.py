"""Refuses requests whose client has disconnected, or that have waited too long for a worker.

Under overload, requests at the end of a long queue are answered when their clients have disconnected or have asked
again. So a worker checks each request before it calls the application; to refuse one costs microseconds. nginx sets
X-Request-Start ("t=" and Unix seconds) when it sends a request on, and that tells how long the request has waited.

    {"event": "shed", "time": 1700000000.0, "worker": 2, "left": 41, "late": 3}

is logged by a worker that refuses requests, once in LOG_S seconds at most, with the numbers since its last line.
"""

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from lowtide import defaults
from lowtide.busy import answer_busy
from lowtide.wsgi import Application, Environ

LOG_S = 10.0
# nginx waits 60 s for an answer. A request that seems to have waited for longer than this has not: the clock was set.
CREDIBLE_S = 90.0


def queue_s() -> int:
    """QUEUE_S of the environment: how many seconds a request may wait for a worker; 0 for no limit.

    Raises:
        ValueError: it is no number of at least 0.
    """
    text = os.environ.get("QUEUE_S") or str(defaults.QUEUE_S)
    if not text.isdecimal():
        raise ValueError(f"QUEUE_S={text} cannot be used: write a whole number of seconds, or 0 for any.")
    return int(text)


def has_left(descriptor: int) -> bool:
    """Whether the other end has closed this connection."""
    look = select.poll()
    look.register(descriptor, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in look.poll(0))


def waited_s(environ: Environ, now: float) -> float:
    """How many seconds the request has waited; 0 where X-Request-Start is missing."""
    start = environ.get("HTTP_X_REQUEST_START", "")
    try:
        return max(0.0, now - float(start.removeprefix("t=")))
    except ValueError:
        return 0.0


class Shed:
    """Wraps the application, and calls it only for requests whose client still waits.

    Args:
        descriptor: returns the descriptor of the current request's connection.
        longest_s: how many seconds a request may have waited; 0 for no limit.
        worker: returns the number of this worker.
    """

    def __init__(
        self, application: Application, descriptor: Callable[[], int], longest_s: float, worker: Callable[[], int]
    ) -> None:
        self._application = application
        self._descriptor = descriptor
        self._longest_s = longest_s
        self._worker = worker
        self._logged = 0.0
        self._left = self._late = 0

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if has_left(self._descriptor()):
            self._left += 1
            self._log()
            # nginx uses 499 for this case too. No client reads this answer.
            start_response("499 Client Closed Request", [])
            return []
        if self._longest_s and self._longest_s < waited_s(environ, time.time()) < CREDIBLE_S:
            self._late += 1
            self._log()
            return answer_busy(environ, start_response)
        return self._application(environ, start_response)

    def _log(self) -> None:
        now = time.monotonic()
        if now - self._logged >= LOG_S or not self._logged:
            line = {"event": "shed", "time": round(time.time(), 3), "worker": self._worker()}
            print(json.dumps(line | {"left": self._left, "late": self._late}), file=sys.stderr, flush=True)
            self._logged, self._left, self._late = now, 0, 0
