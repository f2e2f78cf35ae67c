"""The whole experiment in the local runtime with a small load: its files, and how it ends when it cannot go on."""

import csv
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtest.commands.session import check_machine
from loadtest.load import requests_log, scenarios
from loadtest.measure import CannotMeasure
from tests import described
from tests.machine import CHECKOUT, free_port
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack


def experiment(folder: Path, **settings: str) -> subprocess.Popen[str]:
    """Run `make loadtest` with results and state below `folder`."""
    environment = {key: value for key, value in os.environ.items() if key not in ("QUICK", "VARIANTS", "SCENARIO")}
    environment |= {"RUNTIME": "local", "SCENARIO": "smoke", "LOADTEST_PORT": str(free_port())}
    environment |= {"RESULTS_DIR": str(folder / "results"), "VAR_DIR": str(folder)} | settings
    command = [sys.executable, "-m", "loadtest"]
    return subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def test_a_run_leaves_every_file_and_says_what_happened(tmp_path: Path) -> None:
    sizes = {"WORKERS": "3", "RELOAD_ON_RSS": "140"}
    others = dict.fromkeys(described.VARIABLES, "of-the-real-site")
    with experiment(tmp_path, VARIANTS="without lowtide", **sizes, **others) as process:
        out, error = process.communicate(timeout=200)
    # Under so small a load no worker grows. That is a failure only where the application says that its load inflates.
    inflates = scenarios.inflates()
    says = "The inflation was not reproduced" if inflates else "This load did not inflate the workers of without"
    assert says in " ".join(out.split())
    latest = tmp_path / "results/latest"
    summary = json.loads((latest / "summary.json").read_text())
    assert process.returncode == (0 if summary["verdict"]["holds"] else 1), error
    assert summary["schema"] == 1
    assert summary["load"]["requests"] == 184
    assert summary["load"]["workers"] == 3
    assert sizes.items() <= summary["settings"].items()
    assert [row["name"] for row in summary["variants"]] == ["without", "lowtide"]
    for row in summary["variants"]:
        assert (row["requests"], row["failures"], row["oom_kills"]) == (184, 0, 0)
        assert row["server_requests"] == 184
        assert row["idle_mb"] > 20
        assert row["peak_mb"] >= row["mean_mb"]
        # With the warm-up.
        assert sum(route["count"] for route in row["routes"]) >= 184
        assert row["routes"][0]["peak_max_mb"] > 1
    assert summary["floor_mb"] >= summary["variants"][0]["idle_mb"]
    failed = [check["name"] for check in summary["verdict"]["checks"] if not check["holds"]]
    assert ("without: end over idle, the inflation" in failed) == inflates
    for name in ("report.html", "memory.png", "memory.svg", "events.csv", "config-lowtide.ini", "locust-without.html"):
        assert (latest / name).stat().st_size > 0, name
    assert "map-socket = 1:3\n" in (latest / "config-lowtide.ini").read_text()
    assert "reload-on-rss = 140\n" in (latest / "config-lowtide.ini").read_text()
    assert "map-socket" not in (latest / "config-without.ini").read_text()
    with (latest / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["variant", "t_s", "pss_mb", "working_set_mb", "requests", "workers"]
    assert {row["variant"] for row in rows} == {"without", "lowtide"}
    assert {row["workers"] for row in rows} == {"3"}
    assert int(rows[-1]["requests"]) >= 184


def test_ctrl_c_stops_everything(tmp_path: Path) -> None:
    port = str(free_port())
    with experiment(tmp_path, VARIANTS="without", LOADTEST_PORT=port) as process:
        for _ in range(600):
            if listens(port):
                break
            time.sleep(0.1)
        assert listens(port)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "everything that was started is stopped" in error
    assert not listens(port)
    assert not (tmp_path / "loadtest/stack/run/supervisord.pid").exists()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"VARIANTS": "without lowtied"}, "VARIANTS: there is no variant lowtied."),
        ({"SCENARIO": "huge"}, "SCENARIO=huge: there is no such scenario."),
        ({"SCENARIO": "article", "QUICK": "1"}, "QUICK=1 has a scenario of its own"),
        ({"RUNTIME": "podman"}, "RUNTIME=podman is not a runtime: use docker or local."),
        ({"RUNTIME": "docker", "DOCKER_HOST": "unix:///nonexistent"}, "RUNTIME=docker, but no Docker engine answers"),
        ({"SEED": "one"}, "SEED=one is not a whole number."),
        ({"WORKERS": "abc"}, "WORKERS=abc cannot be used: write a whole number of at least 1."),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(settings: dict[str, str], says: str, tmp_path: Path) -> None:
    with experiment(tmp_path, **settings) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith(says)
    assert error.count("\n") == 1


def test_a_variant_that_fails_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    with experiment(tmp_path, VARIANTS="gunicorn trim", LOADTEST_ENV="GUNICORN_CMD_ARGS=--no-such-option") as process:
        out, error = process.communicate(timeout=200)
    assert process.returncode == 2, error
    summary = json.loads((tmp_path / "results/latest/summary.json").read_text())
    assert [row["name"] for row in summary["variants"]] == ["trim"]
    assert list(summary["left_out"]) == ["gunicorn"]
    assert "gunicorn could not be measured and is left out: " in out


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with experiment(tmp_path, LOADTEST_PORT=port) as process:
            _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error == f"Port {port} is in use: choose another with LOADTEST_PORT=...\n"


def test_too_little_memory_is_said() -> None:
    scenario = dataclasses.replace(scenarios.SCENARIOS["smoke"], memory_mb=10**9)
    with pytest.raises(CannotMeasure, match="Too little memory: this scenario needs 1000000000 MiB"):
        check_machine(free_port(), scenario)


def test_two_locust_processes_share_the_list(stack: Stack, tmp_path: Path) -> None:
    before = sum(stack.served())
    port = str(free_port())
    command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--headless", "--only-summary"]
    command += ["--processes", "2", "--expect-workers", "2", "--users", "12", "--spawn-rate", "12"]
    command += ["--host", stack.url, "--csv", str(tmp_path / "run"), "--master-bind-port", port, "--master-port", port]
    command += ["--exit-code-on-error", "3"]
    environment = os.environ | {"LOWTIDE_SCENARIO": "smoke"} | described.VARIABLES
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = scenarios.SCENARIOS["smoke"].requests
    assert sum(stack.served(before + expected)) - before == expected


def work_off(scenario: str, server: ThreadingHTTPServer, folder: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Have Locust send a list to a server of the test; its exit code, and its log of requests."""
    log = folder / "requests.csv"
    command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--headless", "--only-summary"]
    command += ["--host", f"http://127.0.0.1:{server.server_port}"]
    environment = os.environ | {"LOWTIDE_SCENARIO": scenario, "LOWTIDE_REQUEST_LOG": str(log)}
    environment |= {"LOWTIDE_FEEDS": str(folder)}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        server.shutdown()
        thread.join()
    return done, log


STALL_S = 2.0


class Stalling(BaseHTTPRequestHandler):
    """A server that answers at once, but stands still once for a while at the 300th request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        with server.lock:
            server.asked += 1
            if server.asked == 300:
                time.sleep(STALL_S)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: there are a thousand."""


def test_a_server_that_stands_still_shows_it_to_all_who_were_due_meanwhile(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stalling) as server:
        server.lock, server.asked = threading.Lock(), 0  # type: ignore[attr-defined]
        done, log = work_off("smoke small=1200 large=1 small_rate=200", server, tmp_path)
    assert done.returncode == 0, done.stderr
    latencies = requests_log.read(log)
    assert (latencies.requests, latencies.failures) == (1201, 0)
    assert latencies.small_due_p99_ms is not None
    assert latencies.small_due_max_ms is not None
    assert latencies.small_p99_ms is not None
    # 400 requests were due while it stood still. In the latency from when they were sent, only the ten that were under
    # way show it.
    assert latencies.small_due_max_ms > 0.95 * STALL_S * 1000
    assert latencies.small_due_p99_ms > 0.85 * STALL_S * 1000
    assert latencies.small_p99_ms < latencies.small_due_p99_ms / 2
    assert latencies.pushed_back > 300


class HalfAnAnswer(BaseHTTPRequestHandler):
    """A server that announces a megabyte, sends a tenth of it and closes the connection."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"x" * 100_000)
        self.close_connection = True

    def do_POST(self) -> None:
        server: Any = self.server
        server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        # The first is answered when the second has come.
        if len(server.bodies) == 2:
            server.two.set()
        server.met &= server.two.wait(20)
        self.do_GET()


def test_an_answer_that_breaks_off_is_a_failed_request(tmp_path: Path) -> None:
    scenario = scenarios.named("smoke small=3 large=10")
    with ThreadingHTTPServer(("127.0.0.1", 0), HalfAnAnswer) as server:
        server.bodies, server.two, server.met = [], threading.Event(), True  # type: ignore[attr-defined]
        done, log = work_off("smoke small=3 large=10 large_users=2", server, tmp_path)
    assert done.returncode == 1, done.stderr
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    assert all(row["exception"] for row in rows)
    assert server.met, "the second large request did not come while the first was in flight"  # type: ignore[attr-defined]
    assert set(server.bodies) == {scenarios.body(described.large(), scenario, 1, tmp_path)}  # type: ignore[attr-defined]
