"""Leak: a list in a module that only grows."""

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

kept: list[bytes] = []


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    kept.append(bytes(20_000))
    return answer(start_response)
