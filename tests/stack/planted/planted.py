"""A WSGI application whose workers end in every way that there is, and which says what it was asked. For tests only."""

import atexit
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if os.environ.get("STOP_AT_IMPORT"):
    os.kill(os.getpid(), signal.SIGTERM)
time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))
if os.environ.get("HOOKS"):
    # As uwsgidecorators does while it is imported.
    import uwsgi

    def fork() -> None:
        print("their fork", os.getpid(), file=sys.stderr, flush=True)
        time.sleep(float(os.environ.get("FORK_SECONDS", "0")))

    uwsgi.post_fork_hook = fork
if os.environ.get("HANG_AT_EXIT"):
    import uwsgi

    uwsgi.atexit = lambda: time.sleep(1000)
# As an error reporter does, whose last report is still in memory.
atexit.register(lambda: print("flushed", os.getpid(), file=sys.stderr, flush=True))
held: list[bytearray] = []
loaded: list[bytearray] = []


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    match environ["PATH_INFO"]:
        case "/die":
            os.kill(os.getpid(), 9)
        case "/hang":
            time.sleep(30)
        case "/hang/for/ever":
            time.sleep(1000)
        case "/signals":
            import uwsgi

            for _ in range(100):
                uwsgi.signal(255)
        case "/overwrite":
            import uwsgi

            uwsgi.atexit = lambda: print("their exit", os.getpid(), file=sys.stderr, flush=True)
        case "/hold":
            held.append(bytearray(os.urandom(1 << 20) * 100))
        case "/load" if not loaded:
            # As a module or a cache that is loaded on first use.
            loaded.append(bytearray(os.urandom(1 << 20) * 30))
        case "/keep":
            held.append(bytearray(os.urandom(1 << 20) * 20))
        case path if path.startswith("/order/"):
            return order(environ, start_response, int(path.split("/")[2]))
        case path if path.startswith("/take/"):
            # This many MiB at the peak, in pieces from the heap, and nothing afterwards.
            pieces = [b"x" * 100_000 for _ in range(int(path.split("/")[2]) * (1 << 20) // 100_000)]
            del pieces
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [str(os.getpid()).encode()]


def order(environ: dict[str, Any], start_response: Callable[..., Any], mb: int) -> Iterable[bytes]:
    """Take `mb` MiB for a moment, and write down in RUN_DIR/orders that this request was run, and when.

    The answer is a stream: the worker's pid, and a hash of the body that came.
    """
    began = time.monotonic()
    body = hashlib.sha256(environ["wsgi.input"].read()).hexdigest()
    pieces = [b"x" * 100_000 for _ in range(mb * (1 << 20) // 100_000)]
    time.sleep(0.05)
    del pieces
    line = (environ["HTTP_X_REQUEST_ID"], environ["REQUEST_METHOD"], os.getpid(), mb, began, time.monotonic())
    with Path(os.environ["RUN_DIR"], "orders").open("a") as orders:
        orders.write(json.dumps(line) + "\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    for part in (str(os.getpid()), " ", body):
        yield part.encode()


def create_app() -> Callable[..., Iterable[bytes]]:
    return application
