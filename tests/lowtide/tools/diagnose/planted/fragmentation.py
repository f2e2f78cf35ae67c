"""Fragmentation: of many small objects a few stay until the next request, and keep whole blocks of memory with them."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

survivors: list[tuple[object, ...]] = []


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    rows = [(number, None, "row", "of", "many", 0) for number in range(100_000)]
    survivors[:] = rows[::100]
    return answer(start_response)
