"""Native growth outside malloc: pages mapped with mmap(2) and forgotten."""

import ctypes
import mmap

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
SIZE = 256 * 1024


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    pages = libc.mmap(None, SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    ctypes.memset(pages, 1, SIZE)
    return answer(start_response)
