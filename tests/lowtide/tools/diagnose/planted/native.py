"""Native growth: a C allocation that nothing frees and no Python object stands for."""

import ctypes

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    ctypes.memset(libc.malloc(10_000), 1, 10_000)
    return answer(start_response)
