"""Middleware for any ASGI server: gives heap back after responses that made the process grow.

    from lowtide.asgi import give_back
    application = give_back(application)

Start the server with MALLOC_ARENA_MAX=1: Django answers synchronous views from threads, glibc makes arenas of their own
for threads, and malloc_trim does not reach the free memory at their top.

One process answers several requests at a time, and nobody can tell which of them holds what. So the middleware looks
when a request is over, and while others are in flight at most every PAUSE_S seconds: what they still hold stays, and it
goes back when they are over. What a connection that stays open takes and frees (a websocket, a stream of events) goes
back when any other request is over, or when the connection ends.
Giving back runs in a thread, because the event loop would wait for it.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any

from lowtide.give_back import DEFAULT_THRESHOLD_MB, GiveBack

# Scope, receive and send, which each framework types in its own way.
Application = Callable[[Any, Any, Any], Awaitable[None]]
# Collecting garbage takes milliseconds of the processor, so the small requests beside a large one must not repeat it.
PAUSE_S = 1.0


class AfterResponse:
    """An ASGI application that gives back after the requests and websockets of `application`."""

    def __init__(self, application: Application, giver: GiveBack) -> None:
        self.application = application
        self._giver = giver
        self._in_flight = 0
        self._looked = -math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
            return
        self._in_flight += 1
        try:
            await self.application(scope, receive, send)
        finally:
            self._in_flight -= 1
            # In the loop's next turn the server's task is over, and with it the request and the traceback of an error.
            # The empty context refers to neither.
            asyncio.get_running_loop().call_soon(self._over, context=Context())

    def _over(self) -> None:
        wait_s = self._looked + PAUSE_S - time.monotonic() if self._in_flight else 0.0
        if wait_s <= 0:
            self._look()
        elif not self._timer:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._look, context=Context())

    def _look(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._looked = time.monotonic()
        if self._giver.due():
            asyncio.get_running_loop().run_in_executor(None, self._give)

    def _give(self) -> None:
        if not self._giver():
            self._giver.rest()


def give_back(application: Application, threshold_mb: float = DEFAULT_THRESHOLD_MB) -> Application:
    """Wrap the application so that heap is given back after responses that made the process grow by `threshold_mb`."""
    return AfterResponse(application, GiveBack(threshold_mb))
