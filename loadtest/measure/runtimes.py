"""Starting, watching and stopping the stack under test, in either runtime, beside a stack that is already up.

Both run the same uwsgi.ini and nginx configuration, locally with a state folder and in Docker with a Compose project of
their own, which the first start makes anew. Before anything is written, and again once the server runs, the application
is asked where it writes. If that is not the experiment's own, the experiment ends (stack/own.py).
"""

import copy
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from loadtest.load import scenarios
from loadtest.measure import CannotMeasure
from stack import CHECKOUT, docker, local, own

# The folder of the stack under test, and the bodies that are sent to it.
STATE = Path(os.environ.get("VAR_DIR") or CHECKOUT / "var") / "loadtest"
# How long the page of metrics may take to answer for the first time.
METRICS_S = 20
# Python code that loads the application as a server would.
LOAD = "from lowtide import application; described = application.read(); described.load(described.server)"
# What the images start, as in the Dockerfile.
UWSGI = ["python", "-m", "lowtide.start", "uwsgi", "--ini", "/srv/lowtide/uwsgi.ini"]
# Has uWSGI print the configuration as it has read it. --chdir to a folder that does not exist ends uWSGI before it
# serves. When it ends it removes its sockets, so RUN_DIR must not be that of the running server.
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


def sample_command(stats_socket: str, pid: int | None) -> list[str]:
    """`lowtide.sample` for uWSGI, or for the server whose first process is `pid`."""
    return ["python", "-m", "lowtide.sample", *(["--pid", str(pid)] if pid else ["--stats", stats_socket])]


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

    def changed(self, environment: Mapping[str, str]) -> Self:
        """The same stack, with the same data, in another environment."""
        ...

    def run(self, command: list[str]) -> str:
        """Standard output of a command in the server's surroundings."""
        ...

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        """Start `lowtide.sample`, for uWSGI or for the server whose first process is `pid`."""
        ...

    def serve_metrics(self, port: int, pid: int | None = None) -> None:
        """Serve the page of metrics of the server that runs, until it is stopped (lowtide.metrics).

        Args:
            pid: the first process of a server that is not uWSGI.
        """
        ...

    def log(self) -> list[str]:
        """What the server has written since the start."""
        ...

    def server_pid(self) -> int:
        """The server's first process; 0 when it does not run."""
        ...

    def kill_workers(self, pids: list[int]) -> None: ...


class Local:
    """The local runtime with a state folder of its own."""

    name = "local"

    def __init__(self, port: int, environment: Mapping[str, str], owned: Collection[str] = ()) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = self._var = STATE / "stack"
        self.stats_socket = str(self._var / "run/stats.sock")
        self.database = self._var / "db.sqlite3"
        self._base = own.environment(os.environ, {"DATABASE_URL": f"sqlite:///{self.database}"} | dict(environment))
        self._base |= {"VAR_DIR": str(self._var), "PORT": str(port), own.OWNED: "\n".join(owned)}
        self._stack = local.Local(local.environment(os.devnull, self._base))
        self._owned = owned
        self._made = self._prepared = False
        self._metrics: subprocess.Popen[bytes] | None = None

    def _make(self) -> None:
        self._lock = own.locked(STATE)
        if (self._var / "run/supervisor.sock").exists():
            # An experiment that was killed has left its stack running.
            self.stop()
        own.fresh_folder(self._var)
        own.refuse_foreign(asked_where_it_writes(self.run), self._var, (), self._owned)
        self._made = True

    def _check(self, started: float) -> None:
        said = self._var / "run/stores.json"
        text = said.read_text() if said.exists() else ""
        own.refuse_foreign(said_where_it_writes(text, started), self._var, (), self._owned)

    def start(self, environment: Mapping[str, str]) -> None:
        self._stack.env = local.environment(os.devnull, self._base | dict(environment))
        if not self._made:
            self._make()
        for log in (self._var / "log").glob("*.log"):
            log.unlink()
        started = time.time()
        self._stack.up(prepare=not self._prepared)
        self._prepared = True
        self._check(started)

    def prepare(self) -> None:
        """Make all but the server: a database with the application's tables, for a command that loads it itself."""
        self._make()
        (self._var / "run").mkdir()
        started = time.time()
        self.run(["env", "PRELOAD=off", "python", "-c", LOAD])
        self._check(started)
        self._stack.prepare()

    def run_here(self, command: list[str]) -> int:
        """Run a command on this terminal; its exit code."""
        return self._stack.run(command)

    def changed(self, environment: Mapping[str, str]) -> Self:
        other = copy.copy(self)
        other._base = self._base | dict(environment)
        return other

    def stop(self) -> None:
        if self._metrics:
            self._metrics.terminate()
            self._metrics.wait()
            self._metrics = None
        self._stack.down()

    def serve_metrics(self, port: int, pid: int | None = None) -> None:
        environment = self._stack.env | {"METRICS_PORT": str(port)}
        command = [sys.executable, "-m", "lowtide.metrics", *(["--pid", str(pid)] if pid else [])]
        self._metrics = subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True)
        deadline = time.monotonic() + METRICS_S
        while problem := local.ready(f"http://127.0.0.1:{port}/metrics"):
            if self._metrics.poll() is not None or time.monotonic() > deadline:
                raise CannotMeasure(f"The page of metrics does not answer: {problem}")
            time.sleep(0.1)

    def clean_up(self) -> None:
        if self._made:
            self.stop()

    def run(self, command: list[str]) -> str:
        return self._stack.output(command)

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        command = sample_command(self.stats_socket, pid)
        return docker.followed([*command, "--interval", str(interval_s)], self._stack.env)

    def log(self) -> list[str]:
        return (self._var / "log/uwsgi.log").read_text(errors="replace").splitlines()

    def server_pid(self) -> int:
        return self._stack.server_pid()

    def kill_workers(self, pids: list[int]) -> None:
        self._stack.kill(pids)


class Docker:
    """docker-compose.yml under a project name of its own."""

    name = "docker"
    stats_socket = "/run/lowtide/stats.sock"

    def __init__(self, port: int, environment: Mapping[str, str], owned: Collection[str] = ()) -> None:
        if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
            raise CannotMeasure("RUNTIME=docker, but no Docker engine answers: start one, or use RUNTIME=local.")
        self.url = f"http://127.0.0.1:{port}"
        self._base = own.environment(os.environ, environment) | {"PORT": str(port)}
        # The name is of this checkout alone, because the experiment of another checkout may run at the same time.
        checkout = hashlib.sha256(bytes(STATE.resolve())).hexdigest()[:8]
        self._service = scenarios.described().name
        self._project = f"{self._service}-loadtest-{checkout}"
        overlay = STATE / "compose.json"
        # Compose would read .env and an override file by itself; both belong to the user's own site.
        words = ["--project-name", self._project, "--env-file", os.devnull, "--file", "docker-compose.yml"]
        self._stack = docker.Docker(self._base, [*words, "--file", str(overlay)])
        self._stack.secrets_folder = STATE.resolve() / "secrets"
        self._overlay = overlay
        self._owned = owned
        self._made = self._prepared = False

    def _make(self) -> None:
        compose = json.loads(self._stack.tell("config", "--format", "json"))
        own.refuse_shared(compose, self._project)
        self._hosts = set(compose["services"])
        # Remove what an experiment that was killed has left. Then build the images, because the loop below runs them.
        self._stack.tell("down", "--volumes", "--remove-orphans")
        self._stack.tell("build", "nginx", "app")
        self._made = True
        for service in ("migrate", "app"):
            stores = asked_where_it_writes(functools.partial(self._run_alone, service))
            own.refuse_foreign(stores, None, self._hosts, self._owned)

    def _write_overlay(self) -> None:
        """Write what this environment changes in docker-compose.yml.

        Compose gives a container only the variables that the file names; here come those of LOADTEST_ENV, and what
        another server or allocator needs (servers.environment).
        """
        given = {"environment": own.handed_over(os.environ) | {own.OWNED: "\n".join(self._owned)}}
        services: dict[str, dict[str, Any]] = {"app": dict(given), "migrate": given}
        command, variables = (self._stack.env.get(name, "") for name in ("SERVER_COMMAND", "SERVER_VARIABLES"))
        if command or variables:
            words = ["env", *variables.split(), *(command.split() or UWSGI)]
            image = {"image": f"{self._service}-peers", "build": {"target": "peers"}}
            services["app"] |= {**image, "command": words}
            # Another server than uWSGI has no socket of statistics, and its health check may not show its processes.
            of_another = ["--pid", str(self.server_pid())] if command else []
            services["metrics"] = {"command": ["python", "-m", "lowtide.metrics", *of_another], "pid": "service:app"}
        if protocol := self._stack.env.get("PROTOCOL"):
            healthy = ["CMD", "python", "-m", "loadtest.measure.peers.healthy", protocol]
            services["app"]["healthcheck"] = {"test": healthy}
            services["nginx"] = {"environment": {"PROTOCOL": protocol}}
        self._overlay.write_text(json.dumps({"services": services}))

    def _run_alone(self, service: str, command: list[str]) -> str:
        return self._stack.tell("run", "--rm", "--no-deps", "-T", service, *command)

    def start(self, environment: Mapping[str, str]) -> None:
        self._stack.env = self._base | dict(environment)
        if not self._made:
            self._lock = own.locked(STATE)
        # Only now, because another experiment's containers have this overlay and these secrets too.
        self._write_overlay()
        self._stack.write_secrets()
        if not self._made:
            self._make()
        started = time.time()
        # The database runs on, and its tables are there from the first start.
        alone = ["--no-deps"] if self._prepared else []
        self._stack.tell("up", *alone, "--build", "--detach", "--wait", "--force-recreate", "nginx", "app")
        self._prepared = True
        try:
            text = self.run(["cat", "/run/lowtide/stores.json"])
        except CannotMeasure:
            text = ""
        own.refuse_foreign(said_where_it_writes(text, started), None, self._hosts, self._owned)

    def changed(self, environment: Mapping[str, str]) -> Self:
        other = copy.copy(self)
        other._base = self._base | dict(environment)
        return other

    def stop(self) -> None:
        self._stack.tell("stop", "nginx", "app")

    def serve_metrics(self, port: int, pid: int | None = None) -> None:
        self._stack.env["METRICS_PORT"] = str(port)
        # It shares the application's table of processes, so it is made anew with each container of the application.
        self._stack.tell("up", "--detach", "--wait", "--no-deps", "--force-recreate", "metrics")

    def clean_up(self) -> None:
        if self._made:
            self._stack.tell("--profile", "*", "down", "--volumes")

    def run(self, command: list[str]) -> str:
        return self._stack.output(command)

    def sampler(self, interval_s: float, pid: int | None = None) -> subprocess.Popen[str]:
        command = [*sample_command(self.stats_socket, pid), "--cgroup", "--interval", str(interval_s)]
        return self._stack.follow("exec", "-T", "app", *command)

    def log(self) -> list[str]:
        return self._stack.tell("logs", "--no-log-prefix", "--no-color", "app").splitlines()

    def server_pid(self) -> int:
        return 1

    def kill_workers(self, pids: list[int]) -> None:
        self._stack.kill(pids)


def asked_where_it_writes(run: Callable[[list[str]], str]) -> list[dict[str, Any]]:
    """Where the application writes, as manage.py says it from the settings, before anything is migrated.

    Raises:
        CannotMeasure: it says nothing.
    """
    try:
        said = run(["python", "-m", "lowtide.application", "manage", "stores"])
    except CannotMeasure as problem:
        advice = ' Put "lowtide.django" into INSTALLED_APPS.' if "Unknown command" in str(problem) else ""
        raise CannotMeasure(
            "The application does not say where it writes, so nothing is sent."
            f"{advice} The command that asks it ended with:\n{problem}"
        ) from None
    stores: list[dict[str, Any]] = json.loads(said.splitlines()[-1])
    return stores


def said_where_it_writes(text: str, started: float) -> list[dict[str, Any]]:
    """Where the application writes, as the server that started after `started` says it (lowtide/django/stores.py).

    Raises:
        CannotMeasure: nothing.
    """
    said = json.loads(text or "{}")
    if said.get("time", 0) < started:
        raise CannotMeasure(
            "The running server has not said where it writes, so nothing is sent: call "
            "lowtide.django.preload.preload(application) in the WSGI module."
        )
    stores: list[dict[str, Any]] = said["stores"]
    return stores


def versions(runtime: Runtime) -> dict[str, Any]:
    by_name: dict[str, Any] = json.loads(runtime.run(["python", "-m", "lowtide.versions"]))
    return by_name


def configuration(runtime: Runtime) -> str:
    """The options that uWSGI has read from uwsgi.ini in this environment, one `key = value` a line."""
    script = f"{' '.join(SHOW_CONFIG)} 2>&1 || true"
    lines = runtime.run(["bash", "-c", script]).splitlines()
    start, end = lines.index("[uwsgi]") + 1, lines.index(";end of configuration")
    ignored = {"ini", "show-config", "if-env", "if-not-env", "endif"}
    options = [line.strip() for line in lines[start:end]]
    return "\n".join(line for line in options[:-1] if line.split(" =")[0] not in ignored) + "\n"
