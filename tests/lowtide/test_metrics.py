"""The page for Prometheus, read over HTTP. Its stats socket is a stand-in that names a process of known size."""

import json
import os
import signal
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

from lowtide import memory, metrics, neighbour
from tests.machine import CHECKOUT, free_port
from tests.page import figures
from tests.stack.edge import wait_until


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


def test_the_page_says_memory_requests_and_workers(run_dir: Path) -> None:
    with page(run_dir) as url:
        answer = requests.get(url, timeout=5)
    found = figures(answer.text)
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert found["lowtide_requests_total"] == 12
    assert found["lowtide_workers"] == 2
    assert found["lowtide_up"] == 1
    assert 50 * 2**20 < found["lowtide_memory_pss_bytes"] < 80 * 2**20
    assert found['uwsgi_worker_busy{worker_id="2"}'] == 1
    assert found['uwsgi_worker_running_time_seconds{worker_id="1"}'] == 1.5
    of_one = [found[f'{name}{{worker_id="1"}}'] for name in ("lowtide_worker_uss_bytes", "uwsgi_worker_rss_bytes")]
    assert all(50 * 2**20 < figure < 80 * 2**20 for figure in of_one)
    # A worker that has ended is not there, rather than empty.
    assert 'uwsgi_worker_rss_bytes{worker_id="2"}' not in found


def test_another_server_has_its_memory(server: int, tmp_path: Path) -> None:
    with page(tmp_path, server) as url:
        found = figures(requests.get(url, timeout=5).text)
    assert 50 * 2**20 < found["lowtide_memory_pss_bytes"] < 80 * 2**20
    assert found["lowtide_workers"] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["gunicorn", "--workers=2", "--bind=127.0.0.1:{port}", "planted:application"],
        [
            "granian",
            "--interface=wsgi",
            "--workers=2",
            "--respawn-failed-workers",
            "--port={port}",
            "planted:application",
        ],
    ],
    ids=["gunicorn", "granian"],
)
def test_workers_of_another_server_keep_their_numbers(words: list[str], tmp_path: Path) -> None:
    program = str(Path(sys.executable).with_name(words[0]))
    command = [program, *(word.format(port=free_port()) for word in words[1:])]
    with subprocess.Popen(command, cwd=CHECKOUT / "tests/stack/planted", stderr=subprocess.DEVNULL) as running:
        try:
            with page(tmp_path, running.pid) as url:

                def shown() -> dict[str, float]:
                    return figures(requests.get(url, timeout=5).text)

                rss = [f'uwsgi_worker_rss_bytes{{worker_id="{number}"}}' for number in (1, 2)]
                wait_until("both workers are there", lambda: shown().get("lowtide_workers") == 2 and rss[1] in shown())
                assert all(shown()[name] > 2**20 for name in rss)
                killed = sorted(memory.children(running.pid) or ())[-1]
                os.kill(killed, signal.SIGKILL)
                counts = [f'uwsgi_worker_respawn_count_total{{worker_id="{number}"}}' for number in (1, 2)]
                wait_until("it has a successor", lambda: sum(shown()[name] for name in counts) == 1)
                wait_until("both are there again", lambda: all(name in shown() for name in rss))
        finally:
            running.terminate()


def test_a_server_that_is_away_is_said_to_be_down() -> None:
    with page(Path("/nonexistent")) as url:
        assert figures(requests.get(url, timeout=5).text) == {"lowtide_up": 0, "uwsgi_up": 0}


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


def test_the_health_check_shows_its_processes_to_a_page_in_another_container(run_dir: Path) -> None:
    port = str(free_port())
    variables = {"RUN_DIR": str(run_dir), "METRICS_PORT": port}
    command = [sys.executable, "-m", "lowtide.metrics", "--neighbour"]
    with subprocess.Popen(command, env=variables, cwd=CHECKOUT) as process:
        try:

            def shown() -> dict[str, float]:
                try:
                    return figures(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text)
                except requests.ConnectionError:
                    return {}

            wait_until("the page is there", shown)
            # Here is a process of the pid that uWSGI says, but in the page's container it would be another one.
            assert shown()["lowtide_up"] == 0
            assert (run_dir / "proc.sock").stat().st_mode & 0o777 == 0o600
            check = [sys.executable, "-m", "lowtide.ping", "/healthz"]
            subprocess.run(check, env=variables, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
            wait_until("it has the processes", lambda: shown()["lowtide_up"] == 1)
            assert 50 * 2**20 < shown()["lowtide_memory_pss_bytes"] < 80 * 2**20
        finally:
            process.terminate()


def test_the_newer_container_stays_until_it_ends(tmp_path: Path) -> None:
    """Folders stand in for /proc of three containers."""
    shown = os.open("/", os.O_PATH)

    def send(name: str, started: int) -> str:
        first_process = tmp_path / name / "1"
        first_process.mkdir(parents=True, exist_ok=True)
        (first_process / "stat").write_text(f"1 (u wsgi) S {'0 ' * 18}{started} 0")
        neighbour.keep_newer(shown, os.open(tmp_path / name, os.O_PATH))
        return Path(f"/proc/self/fd/{shown}").readlink().name

    assert [send("old", 50), send("new", 70), send("old", 50)] == ["old", "new", "new"]
    (tmp_path / "new/1/stat").unlink()
    assert send("next", 60) == "next"
    os.close(shown)


def test_a_health_check_without_a_page_goes_on(tmp_path: Path) -> None:
    neighbour.give(str(tmp_path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as page_that_ended:
        page_that_ended.bind(str(tmp_path / "proc.sock"))
    neighbour.give(str(tmp_path))
