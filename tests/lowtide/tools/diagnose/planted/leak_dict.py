"""Leak: results by key, with a new key for each request and no bound. Small: a few hundred bytes a request."""

import itertools

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

results: dict[int, list[float]] = {}
numbers = itertools.count()


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    number = next(numbers)
    results[number] = [number / 3 + part for part in range(20)]
    return answer(start_response)
