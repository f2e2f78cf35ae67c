"""The page for Prometheus, read over HTTP. Its stats socket is a stand-in that names a process of known size."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from lowtide import metrics

WORKERS = [
    {"requests": 7, "pid": 11, "status": "idle"},
    {"requests": 5, "pid": 12, "status": "busy"},
    {"requests": 0, "pid": 0, "status": "cheap"},
]


@pytest.fixture
def server() -> Iterator[int]:
    """The pid of a bare Python process that holds 50 MiB."""
    code = "import sys; held = b'x' * (50 << 20); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate()


@pytest.fixture
def stats_socket(server: int, tmp_path: Path) -> Iterator[str]:
    """A socket that answers as uWSGI's stats socket does, and closes."""
    path = str(tmp_path / "stats.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(json.dumps({"pid": server, "workers": WORKERS}).encode())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def site(stats_socket: str) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), metrics.handler(stats_socket)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join(5)


def samples(text: str) -> dict[str, float]:
    pairs = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_the_page_says_memory_requests_and_workers(stats_socket: str) -> None:
    with site(stats_socket) as url:
        answer = requests.get(url, timeout=5)
    found = samples(answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert found["lowtide_requests_total"] == 12
    assert found["lowtide_workers"] == 2
    assert found["lowtide_up"] == 1
    assert 50 * 2**20 < found["lowtide_memory_pss_bytes"] < 80 * 2**20


def test_a_server_that_is_away_is_said_to_be_down() -> None:
    with site("/nonexistent/stats.sock") as url:
        assert samples(requests.get(url, timeout=5).text) == {"lowtide_up": 0}


@pytest.mark.parametrize("port", ["abc", "70000", "-1", "9117.0"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    command = [sys.executable, "-m", "lowtide.metrics"]
    done = subprocess.run(command, env={"METRICS_PORT": port}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"METRICS_PORT={port} is not a port: give a number from 1 to 65535.\n"


@pytest.mark.parametrize("address", ["192.0.2.1", "127.0.0.1"])
def test_an_address_where_it_cannot_listen_is_named(address: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environment = {"METRICS_BIND": address, "METRICS_PORT": str(port)}
        command = [sys.executable, "-m", "lowtide.metrics"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"lowtide.metrics cannot listen on METRICS_BIND={address} METRICS_PORT={port}: ")
    assert done.stderr.count("\n") == 1
