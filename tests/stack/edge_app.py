"""A WSGI application for tests. It does what a request says: sleep, send a long answer, note that it was asked."""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

CHUNK = b"x" * 65536
if os.environ.get("HANG_AT_EXIT"):
    import uwsgi

    uwsgi.atexit = lambda: time.sleep(1000)

kept: list[bytes] = []


def grow_objects() -> None:
    objects: list[object] = []
    while True:
        objects.append([len(objects)] * 10)


def grow_bytes() -> None:
    """Take memory, twice as much each time. It is filled in C code, which no signal and no other thread interrupts."""
    pieces = [b"x"]
    while True:
        pieces.append(pieces[-1] * 2)


def grow_stream() -> Iterator[bytes]:
    grow_objects()
    yield b"never"


def stream(chunks: int, ends: str | None) -> Iterator[bytes]:
    for _ in range(chunks):
        yield CHUNK
    match ends:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "raises":
            raise RuntimeError("in the middle of the answer")
        case "memory":
            grow_objects()
        case "waits":
            time.sleep(5)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer as the query says.

    `ends` breaks off the answer of `bytes` at its end. `unbuffered` asks nginx to pass on each part at once.
    `name` is written to the file `served`. `noread` leaves the body unread. `sleep`, `bytes` and `log` are numbers.
    `grow` takes memory without end, in one of several ways. `pierce` keeps a fifth of its number of MiB, a piece in
    each page. `status` is the status of a short answer.
    """
    asked = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
    if "name" in asked:
        with Path(os.environ["RUN_DIR"], "served").open("a") as served:
            served.write(f"{asked['name']}\n")
    if "pierce" in asked:
        ballast = [b"x" * size for size in range(100_000, 100_700)]
        pieces = [bytes(600) for _ in range(int(asked["pierce"]) * (1 << 20) // 640)]
        kept.extend(pieces[::5])
        del ballast, pieces
    if "log" in asked:
        print("x" * int(asked["log"]), file=sys.stderr)
    body = hashlib.sha256()
    size = 0
    while "noread" not in asked and (part := environ["wsgi.input"].read(65536)):
        body.update(part)
        size += len(part)
    match asked.get("grow"):
        case "objects":
            grow_objects()
        case "bytes":
            grow_bytes()
        case "kept":
            while True:
                kept.append(os.urandom(1 << 20))
        case "page":
            try:
                grow_objects()
            except MemoryError:
                start_response("500 Internal Server Error", [("Content-Type", "text/html")])
                return [b"the framework's page"]
        case "stream":
            start_response("200 OK", [("Content-Type", "text/plain")])
            return grow_stream()
    time.sleep(float(asked.get("sleep", "0")))
    headers = [("Content-Type", "application/json")]
    if "bytes" in asked:
        start_response("200 OK", [*headers, ("X-Accel-Buffering", "no")] if "unbuffered" in asked else headers)
        return stream(int(asked["bytes"]) // len(CHUNK), asked.get("ends"))
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    answer = json.dumps({"pid": os.getpid(), "size": size, "sha256": body.hexdigest(), "environ": seen}).encode()
    start_response(asked.get("status", "200 OK"), [*headers, ("Content-Length", str(len(answer)))])
    return [answer]
