"""Native growth inside a C library: a compressor that is opened for each request and never ended."""

import ctypes
import zlib

from tests.lowtide.tools.diagnose.planted.answer import Environ, StartResponse, answer

# The extension module has loaded this library already.
libz = ctypes.CDLL("libz.so.1")
STREAM = 112


def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
    stream = ctypes.create_string_buffer(STREAM)
    if libz.deflateInit_(stream, 6, zlib.ZLIB_RUNTIME_VERSION.encode(), STREAM):
        raise RuntimeError("deflateInit_ failed")
    return answer(start_response)
