"""Heap is given back after ASGI responses, however they end. Real servers are in test_servers.py."""

import asyncio
import weakref
from typing import Any

import pytest

from lowtide import asgi, memory
from lowtide.asgi import AfterResponse
from lowtide.give_back import GiveBack

HTTP = {"type": "http"}


class Request:
    """What a request holds, which must be free before heap is given back."""


class Giver(GiveBack):
    """Notes for each time whether the last request was still held."""

    def __init__(self) -> None:
        super().__init__(8, trim=lambda pad: 1)
        self.held: list[bool] = []
        self.request: weakref.ref[Request] | None = None

    def due(self) -> bool:
        return True

    def __call__(self) -> bool:
        self.held.append(bool(self.request and self.request()))
        return True

    async def times(self, count: int) -> None:
        """Wait until it was called so many times."""
        async with asyncio.timeout(10):
            while len(self.held) < count:
                await asyncio.sleep(0.001)


async def receive() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def send(message: Any) -> None:
    pass


async def ask(application: asgi.Application, scope: Any = HTTP) -> str:
    """Serve a request as uvicorn does: in a task of its own, which catches what it raises. Returns what that was."""

    async def serve() -> str:
        try:
            await application(scope, receive, send)
        except BaseException as error:
            return type(error).__name__
        return ""

    return await asyncio.create_task(serve())


@pytest.mark.parametrize("raised", ["", "RuntimeError", "CancelledError"])
def test_the_request_is_free_when_heap_is_given_back(raised: str) -> None:
    giver = Giver()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        request = Request()
        giver.request = weakref.ref(request)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if raised == "RuntimeError":
            raise RuntimeError("broken")
        if raised == "CancelledError":
            raise asyncio.CancelledError
        await send({"type": "http.response.body", "body": b""})

    async def main() -> None:
        assert await ask(AfterResponse(application, giver)) == raised
        await giver.times(1)

    asyncio.run(main())
    assert giver.held == [False]


def test_lifespan_is_left_to_the_application() -> None:
    giver, seen = Giver(), []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    async def main() -> None:
        await AfterResponse(application, giver)({"type": "lifespan"}, receive, send)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert seen == [({"type": "lifespan"}, receive, send)]
    assert giver.held == []


def test_beside_others_it_is_given_back_once_in_a_pause_and_the_last_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    giver = Giver()

    async def main() -> None:
        end = asyncio.Event()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "websocket":
                await end.wait()

        served = AfterResponse(application, giver)
        open_one = asyncio.create_task(served({"type": "websocket"}, receive, send))
        await asyncio.sleep(0)
        monkeypatch.setattr(asgi, "PAUSE_S", 3600)
        for _ in range(20):
            await ask(served)
        # Nothing was given back before the first; the others wait for the end of the pause.
        await giver.times(1)
        end.set()
        await open_one
        # When nobody is in flight any more, nothing waits.
        await giver.times(2)
        assert len(giver.held) == 2
        end.clear()
        monkeypatch.setattr(asgi, "PAUSE_S", 0.05)
        still_open = asyncio.create_task(served({"type": "websocket"}, receive, send))
        await asyncio.sleep(0)
        await ask(served)
        # It stays open, and what others freed beside it goes back all the same.
        await giver.times(3)
        end.set()
        await still_open

    asyncio.run(main())


def test_a_small_request_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "rss_mb", lambda: 50.0)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        pass

    async def main() -> None:
        served = AfterResponse(application, GiveBack(8, trim=lambda pad: bool(calls.append(pad))))  # type: ignore[func-returns-value]
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "run_in_executor", lambda *_: pytest.fail("a thread for nothing"))
        for _ in range(5):
            await ask(served)
        await asyncio.sleep(0)

    asyncio.run(main())
    assert calls == []
