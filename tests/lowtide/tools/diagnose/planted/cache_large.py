"""Cache: it has a bound, but so large a one that it is not full when the measurement ends."""

import functools
import itertools

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

numbers = itertools.count()


@functools.lru_cache(maxsize=100_000)
def rendered(number: int) -> bytes:
    return bytes(3_000)


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    rendered(next(numbers))
    return answer(start_response)
