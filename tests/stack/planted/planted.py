"""A WSGI application whose workers end in every way that there is, and which says what it was asked. For tests only."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

if os.environ.get("STOP_AT_IMPORT"):
    os.kill(os.getpid(), signal.SIGTERM)
time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))
held: list[bytearray] = []
loaded: list[bytearray] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/die":
            os.kill(os.getpid(), 9)
        case "/hang":
            time.sleep(30)
        case "/hold":
            held.append(bytearray(os.urandom(1 << 20) * 100))
        case "/load" if not loaded:
            # As a module or a cache that is loaded on first use.
            loaded.append(bytearray(os.urandom(1 << 20) * 30))
        case "/keep":
            held.append(bytearray(os.urandom(1 << 20) * 20))
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [str(os.getpid()).encode()]
