"""Under real gunicorn, granian and uvicorn, what a large request left in its worker goes back to the kernel."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
# /large frees a block, which raises glibc's thresholds, and then 100 MiB of strings that lie below one that it keeps.
APPLICATION = """
import asyncio

from lowtide import asgi, memory
from lowtide.wsgi import give_back

kept = []

def plain(environ, start_response):
    if environ["PATH_INFO"] == "/large":
        block = bytearray(30 << 20)
        del block
        rows = ["x" * 2000 + str(i) for i in range(50_000)]
        kept[:] = rows[-1:]
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("broken")
    body = str(memory.rss_mb()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return iter([body])

wrapped = give_back(plain)

async def asgi_plain(scope, receive, send):
    assert scope["type"] == "http"
    answer = await asyncio.to_thread(lambda: plain({"PATH_INFO": scope["path"]}, lambda *_: None))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"".join(answer)})

asgi_wrapped = asgi.give_back(asgi_plain)
"""
GUNICORN = "from lowtide.gunicorn import give_back\npost_worker_init = give_back\n"


def get(port: int, path: str) -> float:
    """The RSS that the worker reports, MiB."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        return float(answer.read())


@contextmanager
def serving(folder: Path, command: list[str], **variables: str) -> Iterator[int]:
    """Start a server with one worker; its port. Its output goes to `folder`/log."""
    (folder / "application.py").write_text(APPLICATION)
    (folder / "gunicorn.conf.py").write_text(GUNICORN)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(BIN / command[0]), *(word.replace("PORT", str(port)) for word in command[1:])]
    environment = os.environ | {"PYTHONPATH": str(folder)} | variables
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def gunicorn(*options: str, application: str = "plain") -> list[str]:
    return ["gunicorn", "--bind", "127.0.0.1:PORT", "--no-control-socket", *options, f"application:{application}"]


def granian(application: str) -> list[str]:
    return ["granian", "--interface", "wsgi", "--port", "PORT", "--blocking-threads", "4", f"application:{application}"]


def uvicorn(application: str) -> list[str]:
    return ["uvicorn", "--port", "PORT", f"application:{application}"]


def left_mb(port: int) -> float:
    """How much more the worker holds after a large request than before, once its RSS no longer falls, MiB."""
    idle = get(port, "/")
    get(port, "/large")
    left = get(port, "/") - idle
    for _ in range(20):
        if left < 10:
            break
        time.sleep(0.1)
        left = get(port, "/") - idle
    return left


SYNC = gunicorn()
THREADS = gunicorn("--worker-class", "gthread", "--threads", "4")
GREENLETS = gunicorn("--worker-class", "gevent")


# Threads get heaps of their own, unless glibc may make no more.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}


@pytest.mark.parametrize(
    ("command", "variables"),
    [
        (SYNC, {}),
        (THREADS, {}),
        (GREENLETS, {}),
        (gunicorn("--worker-class", "asgi", application="asgi_plain"), ONE_HEAP),
        (gunicorn("--worker-class", "uvicorn_worker.UvicornWorker", application="asgi_plain"), ONE_HEAP),
        (granian("wrapped"), {}),
        (uvicorn("asgi_wrapped"), ONE_HEAP),
        (["granian", "--interface", "asginl", "--port", "PORT", "application:asgi_wrapped"], ONE_HEAP),
    ],
    ids=["sync", "gthread", "gevent", "gunicorn-asgi", "gunicorn-uvicorn", "granian", "uvicorn", "granian-asgi"],
)
def test_a_large_request_goes_back(tmp_path: Path, command: list[str], variables: dict[str, str]) -> None:
    with serving(tmp_path, command, **variables) as port:
        get(port, "/")
        assert left_mb(port) < 10


@pytest.mark.parametrize("command", [SYNC, granian("plain"), uvicorn("asgi_plain")], ids=["sync", "granian", "uvicorn"])
def test_without_it_the_worker_keeps_it(tmp_path: Path, command: list[str]) -> None:
    with serving(tmp_path, command, GIVE_BACK_MB="0") as port:
        get(port, "/")
        assert left_mb(port) > 50


def test_a_request_that_fails_leaves_the_worker_as_it_was(tmp_path: Path) -> None:
    with serving(tmp_path, SYNC) as port:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            get(port, "/broken")
        assert left_mb(port) < 10
