"""Leak: each request registers a receiver, whose closure holds the request's data."""

from collections.abc import Callable

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer


class Signal:
    def __init__(self) -> None:
        self.receivers: list[Callable[[], int]] = []

    def connect(self, receiver: Callable[[], int]) -> None:
        self.receivers.append(receiver)


saved = Signal()


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    basket = [f"item {number} of {id(environ)}" for number in range(50)]

    def receiver() -> int:
        return len(basket)

    saved.connect(receiver)
    return answer(start_response)
