"""Starting, watching and stopping the stack under test, in either runtime, beside a stack that is already up.

Both run the same uwsgi.ini and nginx configuration under a state folder or a Compose project of their own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from loadtest.measure import CannotMeasure

CHECKOUT = Path(__file__).resolve().parents[2]
# The stack under test, and the bodies that are sent to it.
STATE = Path(os.environ.get("VAR_DIR") or CHECKOUT / "var") / "loadtest"
# uWSGI prints the configuration as it has read it, and a folder that does not exist ends it before it serves. On its
# way out it removes its sockets, so they must not be those of the running server.
SHOW_CONFIG = [
    "env",
    "RUN_DIR=/nonexistent",
    "python",
    "-m",
    "lowtide.start",
    "uwsgi",
    "--ini",
    "uwsgi.ini",
    "--show-config",
    "--chdir",
    "/nonexistent",
]


class Runtime(Protocol):
    """A stack that answers at `url` while it is started."""

    name: str
    url: str
    stats_socket: str

    def start(self, environment: Mapping[str, str]) -> None: ...
    def stop(self) -> None:
        """Stop it; its data stays for the next start."""
        ...

    def clean_up(self) -> None:
        """Leave nothing behind that runs."""
        ...

    def run(self, command: list[str]) -> str:
        """Standard output of a command in the server's surroundings."""
        ...

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        """Of uWSGI, or in the local runtime of the server whose first process is `pid`."""
        ...

    def log(self) -> list[str]:
        """What the server has written since the start."""
        ...

    def kill_workers(self, pids: list[int]) -> None: ...


def call(command: list[str], environment: Mapping[str, str], what: str) -> str:
    """Run to the end, apart from the terminal's Ctrl-C; standard output, or CannotMeasure with the last lines."""
    done = subprocess.run(
        command, env=dict(environment), cwd=CHECKOUT, capture_output=True, text=True, start_new_session=True
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip().splitlines()[-15:]
        raise CannotMeasure("\n".join([f"{what} failed (exit code {done.returncode}):", *said]))
    return done.stdout


class Local:
    """stack/local.py with a state folder of its own."""

    name = "local"

    def __init__(self, port: int, environment: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._var = STATE
        self.stats_socket = str(self._var / "run/stats.sock")
        self._stack = [sys.executable, str(CHECKOUT / "stack/local.py")]
        self._base = dict(os.environ) | dict(environment)
        self._base |= {"VAR_DIR": str(self._var), "PORT": str(port), "BIND": "127.0.0.1"}
        self._environment = self._base

    def start(self, environment: Mapping[str, str]) -> None:
        (self._var / "log").mkdir(parents=True, exist_ok=True)
        for log in (self._var / "log").glob("*.log"):
            log.unlink()
        self._environment = self._base | dict(environment)
        call([*self._stack, "up"], self._environment, "Starting the stack")

    def stop(self) -> None:
        call([*self._stack, "down"], self._environment, "Stopping the stack")

    def clean_up(self) -> None:
        self.stop()

    def run(self, command: list[str]) -> str:
        return call([*self._stack, "run", *command], self._environment, command[0])

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        source = ["--pid", str(pid)] if pid else ["--stats", self.stats_socket]
        command = [sys.executable, "-m", "lowtide.sample", *source]
        return popen([*command, "--interval", str(interval_s)], self._environment)

    def log(self) -> list[str]:
        return (self._var / "log/uwsgi.log").read_text(errors="replace").splitlines()

    def kill_workers(self, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


class Docker:
    """docker-compose.yml under a project name of its own."""

    name = "docker"
    stats_socket = "/run/lowtide/stats.sock"

    def __init__(self, port: int, environment: Mapping[str, str]) -> None:
        if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
            raise CannotMeasure("RUNTIME=docker, but no Docker engine answers: start one, or use RUNTIME=local.")
        self.url = f"http://127.0.0.1:{port}"
        self._compose = ["docker", "compose", "--project-name", "lowtide-loadtest"]
        self._base = dict(os.environ) | dict(environment) | {"PORT": str(port), "BIND": "127.0.0.1"}
        self._environment = self._base

    def start(self, environment: Mapping[str, str]) -> None:
        self._environment = self._base | dict(environment)
        words = ["up", "--build", "--detach", "--wait", "--force-recreate", "nginx", "app"]
        call([*self._compose, *words], self._environment, "Starting the stack")

    def stop(self) -> None:
        call([*self._compose, "stop", "nginx", "app"], self._environment, "Stopping the stack")

    def clean_up(self) -> None:
        call([*self._compose, "down", "--volumes"], self._environment, "Stopping the stack")

    def run(self, command: list[str]) -> str:
        return call([*self._compose, "exec", "-T", "app", *command], self._environment, command[0])

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        command = ["python", "-m", "lowtide.sample", "--stats", self.stats_socket, "--cgroup"]
        words = ["exec", "-T", "app", *command, "--interval", str(interval_s)]
        return popen([*self._compose, *words], self._environment)

    def log(self) -> list[str]:
        words = ["logs", "--no-log-prefix", "--no-color", "app"]
        return call([*self._compose, *words], self._environment, "Reading the log").splitlines()

    def kill_workers(self, pids: list[int]) -> None:
        self.run(["bash", "-c", f"kill -9 {' '.join(map(str, pids))}"])


def popen(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """A process that ends when its standard input is closed."""
    return subprocess.Popen(
        command,
        env=dict(environment),
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def versions(runtime: Runtime) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(runtime.run(["python", "-m", "lowtide.versions"]))
    return found


def configuration(runtime: Runtime) -> str:
    """The options that uWSGI has read from uwsgi.ini in this environment, one `key = value` a line."""
    script = f"{' '.join(SHOW_CONFIG)} 2>&1 || true"
    lines = runtime.run(["bash", "-c", script]).splitlines()
    start, end = lines.index("[uwsgi]") + 1, lines.index(";end of configuration")
    ignored = {"ini", "show-config", "if-env", "if-not-env", "endif"}
    options = [line.strip() for line in lines[start:end]]
    return "\n".join(line for line in options[:-1] if line.split(" =")[0] not in ignored) + "\n"
