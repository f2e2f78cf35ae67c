"""Requests that are not worth serving any more: their client has left, or they waited too long for a worker.

A queue that is served to its end under overload serves nobody: its clients have gone, or have asked again already. A
worker looks before it calls the application; what it turns away costs microseconds. How long a request waited is known
from X-Request-Start ("t=" and Unix seconds), which nginx writes when it hands the request over.

    {"event": "shed", "time": 1700000000.0, "worker": 2, "left": 41, "late": 3}

is logged by a worker that turns requests away, every LOG_S seconds at most, with the numbers since its last line.
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


def queue_s() -> int:
    """QUEUE_S of the environment: how many seconds a request may wait for a worker; 0 for any.

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
    """Since when the request has waited; 0 where nobody says so."""
    start = environ.get("HTTP_X_REQUEST_START", "")
    try:
        return max(0.0, now - float(start.removeprefix("t=")))
    except ValueError:
        return 0.0


class Shed:
    """The application, called only for requests that somebody still waits for.

    Args:
        descriptor: the connection of the request that begins.
        longest_s: how long it may have waited; 0 for any.
        worker: the number of this worker.
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
            # nginx's own number for it. Nobody reads it.
            start_response("499 Client Closed Request", [])
            return []
        if self._longest_s and waited_s(environ, time.time()) > self._longest_s:
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
