"""Cache: it has a bound and is full after 20 requests."""

import functools
import itertools

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

numbers = itertools.count()


@functools.lru_cache(maxsize=20)
def rendered(number: int) -> bytes:
    return bytes(30_000)


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    rendered(next(numbers))
    return answer(start_response)
