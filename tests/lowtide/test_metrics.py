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


def worker(number: int, pid: int, requests: int, status: str) -> dict[str, object]:
    figures = dict.fromkeys(("exceptions", "harakiri_count", "respawn_count", "tx", "avg_rt", "delta_requests"), 0)
    times = {"running_time": 1_500_000, "last_spawn": 1}
    return {"id": number, "pid": pid, "requests": requests, "status": status, "accepting": 1, **figures, **times}


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
def run_dir(server: int, tmp_path: Path) -> Iterator[Path]:
    """A folder with a socket that answers as uWSGI's stats socket does, and closes."""
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
                # The second worker has just ended, and the third is not needed.
                workers = [worker(1, server, 7, "idle"), worker(2, 2**22 + 1, 5, "busy"), worker(3, 0, 0, "cheap")]
                with connection:
                    connection.sendall(json.dumps({"pid": server, "workers": workers, "sockets": []}).encode())

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield tmp_path
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextmanager
def page(run_dir: Path, pid: int | None = None) -> Iterator[str]:
    handler = metrics.handler(metrics.Server(run_dir, pid))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join(5)


def samples(text: str) -> dict[str, float]:
    pairs = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_the_page_says_memory_requests_and_workers(run_dir: Path) -> None:
    with page(run_dir) as url:
        answer = requests.get(url, timeout=5)
    found = samples(answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert found["lowtide_requests_total"] == 12
    assert found["lowtide_workers"] == 2
    assert found["lowtide_up"] == 1
    assert 50 * 2**20 < found["lowtide_memory_pss_bytes"] < 80 * 2**20
    assert found['uwsgi_worker_busy{worker_id="2"}'] == 1
    assert found['uwsgi_worker_running_time_seconds{worker_id="1"}'] == 1.5
    memory = [found[f'{name}{{worker_id="1"}}'] for name in ("lowtide_worker_uss_bytes", "uwsgi_worker_rss_bytes")]
    assert all(50 * 2**20 < figure < 80 * 2**20 for figure in memory)
    # A worker that has ended is not there, rather than empty.
    assert 'uwsgi_worker_rss_bytes{worker_id="2"}' not in found


def test_another_server_has_its_memory(server: int, tmp_path: Path) -> None:
    with page(tmp_path, server) as url:
        found = samples(requests.get(url, timeout=5).text)
    assert 50 * 2**20 < found["lowtide_memory_pss_bytes"] < 80 * 2**20
    assert found["lowtide_workers"] == 0


def test_a_server_that_is_away_is_said_to_be_down() -> None:
    with page(Path("/nonexistent")) as url:
        assert samples(requests.get(url, timeout=5).text) == {"lowtide_up": 0, "uwsgi_up": 0}


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
