"""Retention: text of a few KB each, from glibc's heap, after a large block was freed and raised its thresholds."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    body = b"x" * 20_000_000
    texts = [body[start : start + 3_000].decode() for start in range(0, len(body) * 3 // 4, 3_000)]
    del body, texts
    return answer(start_response)
