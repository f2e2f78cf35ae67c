"""Arrays of numpy that are kept. In a file of its own, because the import of numpy takes longer than most rows."""

from typing import Any

import numpy

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

kept: list[Any] = []


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    kept.append(numpy.zeros(500))
    return answer(start_response)
