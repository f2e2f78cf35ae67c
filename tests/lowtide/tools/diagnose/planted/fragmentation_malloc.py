"""Fragmentation of glibc's heap: small blocks stay between those that are freed, at least one on each page."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

survivors: list[bytes] = []


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    survivors.clear()
    blocks = [bytes(3_000 if number % 2 else 600) for number in range(30_000)]
    survivors[:] = blocks[::2]
    return answer(start_response)
