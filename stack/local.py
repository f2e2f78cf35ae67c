"""The stack as plain processes on this machine: uWSGI and nginx, supervised by supervisord.

State (logs, sockets, SQLite, static files) is under VAR_DIR, by default var/ in the checkout. To run another server
than uWSGI, set SERVER_COMMAND, and PROTOCOL=http or uwsgi if it speaks that. SERVER_VARIABLES ("NAME=VALUE ...") are
set for the server only.
"""

import errno
import ipaddress
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from supervisor.xmlrpc import SupervisorTransport

from lowtide import application, defaults, memory, sample, start
from lowtide.environment import Unreadable, read_secrets
from stack import CHECKOUT, Failed, database, logs, page, secrets

BIN = Path(sys.executable).parent
SUPERVISOR_CONF = str(CHECKOUT / "stack/supervisord.conf")
START_SECONDS = 60
STATISTICS_SECONDS = 5
# Where OBSERVE=1 serves the metrics (lowtide/metrics.py) and Prometheus.
OBSERVE_PORTS = {"METRICS_PORT": 9117, "PROMETHEUS_PORT": 9090}
# Longer than supervisord waits for nginx and uWSGI together (stopwaitsecs).
STOP_SECONDS = 150


def environment(env_file: str | None = None, shell: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that uwsgi.ini, nginx and the application read, for this runtime.

    Raises:
        Failed: `env_file` cannot be read, or a variable without which nothing starts is missing.
    """
    if env_file:
        try:
            Path(env_file).open().close()
        except OSError as error:
            raise Failed(f"{env_file} cannot be read: {error.strerror}.") from None
    example, own = (dotenv_values(env_file or CHECKOUT / name) for name in (".env.example", ".env"))
    env = {key: value for key, value in own.items() if value} | dict(shell)
    # As in Compose, an empty variable counts as unset.
    env |= {key: value for key, value in example.items() if value and not env.get(key)}
    for name in ("BIND", "PORT"):
        if not env.get(name):
            raise Failed(f"{name} is not set: write it into {env_file or '.env'}, as .env.example does.")
    var = Path(env.get("VAR_DIR", "") or CHECKOUT / "var").resolve()
    run = var / "run"
    local = {
        "CHECKOUT": str(CHECKOUT),
        "VAR_DIR": str(var),
        "RUN_DIR": str(run),
        "STATIC_ROOT": str(var / "static"),
        "MEDIA_ROOT": str(var / "media"),
        "LISTEN": f"{env['BIND']}:{env['PORT']}",
        "APPLICATION_CONF": str(run / "application.conf"),
        "ACCESS_LOG": str(var / "log/access.log"),
        "ERROR_LOG": str(var / "log/nginx.log"),
        "PATH": f"{BIN}:{env.get('PATH', '')}:/usr/sbin",
    }
    env.setdefault("SERVER_COMMAND", f"python -m lowtide.start uwsgi --ini {shlex.quote(f'{CHECKOUT}/uwsgi.ini')}")
    env.setdefault("SERVER_VARIABLES", "")
    env["OBSERVE_AUTOSTART"] = "true" if env.get("OBSERVE") == "1" else "false"
    for name, port in OBSERVE_PORTS.items():
        env[name] = env.get(name) or str(port)
    env["APP_DIR"] = str(Path(env.get("APP_DIR") or CHECKOUT / "app").resolve())
    env.setdefault("DATABASE_URL", f"sqlite:///{var}/db.sqlite3")
    return env | local


def check(env: dict[str, str], app: application.Application) -> None:
    """Refuse what would fail later with a worse message."""
    secrets.require(env, "SECRET_KEY")
    if env.get("OBSERVE") not in (None, "", "0", "1"):
        raise Failed(f"OBSERVE={env['OBSERVE']} cannot be used: write 1 to start the metrics too, or 0.")
    ports = ["PORT", *(OBSERVE_PORTS if env.get("OBSERVE") == "1" else ())]
    for name in ports:
        if not env[name].isdecimal() or not 0 < int(env[name]) < 65536:
            raise Failed(f"{name}={env[name]} is not a port: give a number from 1 to 65535.")
    # A unix socket's path may have 107 characters; supervisord's socket, with its process id, adds 24 to the folder's.
    if len(env["RUN_DIR"]) > 83:
        raise Failed(f"{env['RUN_DIR']} is too long for unix sockets: set VAR_DIR to a folder with a shorter path.")
    try:
        with_secrets = dict(env)
        read_secrets(with_secrets)
        start.derived(with_secrets, app)
    except (Unreadable, start.Unusable, application.Invalid) as problem:
        raise Failed(str(problem)) from None
    try:
        address = str(ipaddress.IPv4Address(env["BIND"]))
    except ValueError:
        raise Failed(
            f"BIND={env['BIND']} is not an IPv4 address: write 127.0.0.1, or 0.0.0.0 for all of this machine."
        ) from None
    for name in ports:
        check_free(name, int(env[name]), address if name == "PORT" else "127.0.0.1")


def check_free(name: str, port: int, address: str) -> None:
    """Refuse a port on which something listens already, or an address that this machine does not have."""
    with socket.socket() as probe:
        # nginx sets this option too: without it, connections of an earlier start that are still closing block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failed(
                    f"Port {port} is in use: stop what listens there, or choose another with {name}=..."
                ) from None
            who = f"nginx cannot listen on BIND={address} " if name == "PORT" else "Nothing can listen on "
            raise Failed(f"{who}{name}={port}: {error.strerror}.") from None


def install_programs(env: dict[str, str]) -> None:
    needed = {"nginx": "nginx-light", "envsubst": "gettext-base"}
    if env["OBSERVE_AUTOSTART"] == "true":
        needed["prometheus"] = "prometheus"
    missing = [package for command, package in needed.items() if not shutil.which(command, path=env["PATH"])]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Failed(
            f"The local runtime needs {' and '.join(needed)}. "
            f"On Debian or Ubuntu: sudo apt-get install {' '.join(missing)}"
        )
    print(f"Installing {' and '.join(missing)} from Debian", flush=True)
    log = Path(env["VAR_DIR"]) / "log/apt.log"
    # Debian starts nginx on port 80, and Prometheus on 9090, when it installs them; RUNLEVEL=1 prevents that.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with log.open("w") as out:
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
        ):
            if subprocess.run(command, stdout=out, stderr=out, env=env | quiet).returncode:
                raise Failed(f"`{' '.join(command)}` failed: {log} says why.")


def check_packages(app: application.Application) -> None:
    """Refuse where the application needs Debian packages that are not installed. Other systems call them otherwise."""
    wanted = (*app.packages, *app.build_packages)
    if not wanted or not shutil.which("dpkg-query"):
        return
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *wanted],
        capture_output=True,
        text=True,
    )
    there = {line.removeprefix("installed ") for line in shown.stdout.splitlines()}
    if missing := [package for package in wanted if package not in there]:
        raise Failed(
            f"{app.file} names Debian packages that are missing: sudo apt-get install {' '.join(missing)}, or "
            "RUNTIME=docker."
        )


def supervisor(env: dict[str, str], method: str, *arguments: str | bool) -> Any:
    """Call this VAR_DIR's supervisord over XML-RPC. Returns its answer; None where it does not run or refuses."""
    transport = SupervisorTransport(serverurl=f"unix://{env['RUN_DIR']}/supervisor.sock")
    try:
        return getattr(xmlrpc.client.ServerProxy("http://localhost", transport).supervisor, method)(*arguments)
    except (OSError, xmlrpc.client.Error):
        return None


def ready(url: str) -> str:
    """Why the site is not ready; empty when it is."""
    # As JSON, nginx's error pages are a single line.
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return "" if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(300).decode(errors='replace').strip()}"
    except OSError as error:
        return f"{url}: {error}"


def given_up(env: dict[str, str]) -> str:
    """The program that supervisord has given up starting; empty when there is none."""
    programs = supervisor(env, "getAllProcessInfo") or []
    return next((str(program["name"]) for program in programs if program["statename"] == "FATAL"), "")


def described(env: dict[str, str]) -> application.Application:
    """The application's description (lowtide.toml).

    Raises:
        Failed: something in it cannot be used.
    """
    try:
        app = application.read(Path(env["APP_DIR"]))
        application.check(app)
    except application.Invalid as problem:
        raise Failed(str(problem)) from None
    return app


def tail(path: Path, lines: int) -> list[str]:
    last = path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []
    return logs.readable_lines(last)


@contextmanager
def runnable(command: Sequence[str]) -> Iterator[None]:
    """Raises Failed where this command cannot be started."""
    try:
        yield
    except OSError as error:
        raise Failed(f"{command[0]} cannot be run: {error.strerror}.") from None


class Local:
    """The processes of one VAR_DIR. `env` comes from `environment`, and may be changed while they are stopped."""

    name = "local"

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env

    @property
    def var(self) -> Path:
        return Path(self.env["VAR_DIR"])

    @property
    def run_dir(self) -> Path:
        return Path(self.env["RUN_DIR"])

    def prepare(self) -> None:
        """Migrate the database and build static files, at the same time, because most of either is Django's start.

        Raises:
            Failed: one of the two failed; the message has its last lines.
        """
        running = {
            name: subprocess.Popen(
                [sys.executable, "-m", "lowtide.application", *words],
                env=self.env,
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            for name, words in (
                ("manage.py migrate", ("manage", "migrate", "--noinput", "--verbosity=0")),
                ("build", ("build",)),
            )
        }
        try:
            said = {name: process.communicate()[0] for name, process in running.items()}
        finally:
            for process in running.values():
                process.terminate()
                process.wait()
        for name, process in running.items():
            if process.returncode:
                raise Failed("\n".join([*said[name].splitlines()[-15:], f"`{name}` failed, as said above."]))

    def up(self, prepare: bool = True) -> str:
        """Prepare, start, and wait until the site answers. Returns what to tell the user.

        Args:
            prepare: False where an earlier `up` prepared the same database and files, and nothing changed since.

        Raises:
            Failed: the site does not answer; nothing is left running.
        """
        if supervisor(self.env, "getPID"):
            self.down()
        app = described(self.env)
        self.env |= {"WSGI_CALLABLE": app.server, **app.environment}
        self.env["PROCESSES_AUTOSTART"] = "true" if app.processes else "false"
        self.env["WITHOUT_SECRETS"] = " ".join(f"--unset={name}" for name in (*secrets.NAMES, *app.secrets))
        check(self.env, app)
        for name in ("log", "run", "static"):
            (self.var / name).mkdir(parents=True, exist_ok=True)
        install_programs(self.env)
        check_packages(app)
        if self.observed():
            self.write_prometheus()
        Path(self.env["APPLICATION_CONF"]).write_text(app.nginx)
        tested = subprocess.run([str(CHECKOUT / "nginx/start"), "-t"], env=self.env, capture_output=True, text=True)
        if tested.returncode:
            raise Failed(tested.stderr.strip())
        if prepare:
            self.prepare()
        started = [str(BIN / "supervisord"), "-c", SUPERVISOR_CONF]
        subprocess.run(started, env=self.env, cwd=CHECKOUT, check=True, start_new_session=True)
        url = f"http://{self.env['BIND']}:{self.env['PORT']}"
        pages = [f"{url}/readyz", *(self.observed().values())]
        deadline = time.monotonic() + START_SECONDS
        while problem := next(filter(None, map(ready, pages)), ""):
            program = given_up(self.env)
            if program or time.monotonic() > deadline:
                last = tail(self.var / f"log/{program or 'uwsgi'}.log", 15)
                self.down()
                if program:
                    last.append(f"{program} ends as soon as it is started. Its log is above, and in {self.var}/log")
                else:
                    last.append(f"Not ready after {START_SECONDS} s: {problem}. Logs: {self.var}/log")
                raise Failed("\n".join(last))
            time.sleep(0.1)
        try:
            status = page.asked(url, app.page) + self.too_low()
        except Failed as problem:
            # What the server writes about the page reaches the file through supervisord, a moment later.
            time.sleep(1)
            last = tail(self.var / "log/uwsgi.log", 15)
            self.down()
            raise Failed("\n".join([*last, f"{problem} Logs: {self.var}/log"])) from None
        observed = "".join(f"{name}: {address.removesuffix('/-/ready')}\n" for name, address in self.observed().items())
        where = f"{app.title} answers at {url} (local runtime, logs in {self.var}/log)."
        return f"{observed}{where} {status} `make down` stops it."

    def too_low(self) -> str:
        """A sentence where workers are replaced all the time; empty for a server that does not read uwsgi.ini."""
        lowtide = (self.env.get("WORKER_MANAGEMENT") or defaults.WORKER_MANAGEMENT) == "lowtide"
        if not lowtide or "uwsgi.ini" not in self.env["SERVER_COMMAND"]:
            return ""
        # A worker may answer a moment before the master has its socket of statistics.
        deadline = time.monotonic() + STATISTICS_SECONDS
        while True:
            try:
                sampled = sample.once(sample.uwsgi(str(self.run_dir / "stats.sock")))
                break
            except (OSError, ValueError):
                # The site answers, so it is left alone.
                if time.monotonic() > deadline:
                    return ""
                time.sleep(0.05)
        return page.too_low(sampled, self.env.get("RELOAD_ON_RSS") or str(defaults.RELOAD_ON_RSS))

    def replace(self) -> str:
        raise Failed("The local runtime has one server, and `make up` starts it anew: only with Docker is it replaced.")

    def observed(self) -> dict[str, str]:
        """The pages of OBSERVE=1."""
        if self.env["OBSERVE_AUTOSTART"] == "false":
            return {}
        metrics, prometheus = (self.env[name] for name in OBSERVE_PORTS)
        return {
            "Metrics": f"http://127.0.0.1:{metrics}/metrics",
            "Prometheus": f"http://127.0.0.1:{prometheus}/-/ready",
        }

    def write_prometheus(self) -> None:
        """Write Prometheus' configuration: the one of Compose, with this stack's page of metrics as its target."""
        text = (CHECKOUT / "observe/prometheus.yml").read_text()
        text = text.replace("metrics:9117", f"127.0.0.1:{self.env['METRICS_PORT']}")
        (self.run_dir / "prometheus.yml").write_text(text)
        shutil.copy(CHECKOUT / "observe/alerts.yml", self.run_dir)

    def down(self) -> str:
        """Stop. Returns what to tell the user."""
        pid = supervisor(self.env, "getPID")
        if pid is None:
            return "Nothing is running."
        # nginx has to end before uWSGI does, so that requests in flight are still answered. supervisord is not asked to
        # wait for the end of a program, because it would take a whole processor while it waits.
        deadline = time.monotonic() + STOP_SECONDS
        for name in ("nginx", "uwsgi", "processes", "metrics", "prometheus"):
            supervisor(self.env, "stopProcess", name, False)
            while (supervisor(self.env, "getProcessInfo", name) or {}).get("pid") and time.monotonic() < deadline:
                time.sleep(0.05)
        supervisor(self.env, "shutdown")
        # By itself supervisord checks once a second whether it should end, and each question makes it check.
        # A process that has ended holds no memory, even where the machine's init has not yet cleared it away.
        while supervisor(self.env, "getPID") or memory.fields_mb(pid, "status", "VmRSS"):
            if time.monotonic() > deadline:
                raise Failed(f"supervisord (pid {pid}) is still stopping after {STOP_SECONDS} s: see {self.var}/log")
            time.sleep(0.05)
        return ""

    def logs(self) -> int:
        files = sorted(str(path) for path in (self.var / "log").glob("*.log"))
        if not files:
            raise Failed("There are no logs yet: `make up` first.")
        # Without the names of the files, a pipe gets lines of JSON only.
        names = "--verbose" if sys.stdout.isatty() else "--quiet"
        return logs.show(["tail", names, "--lines=20", "-F", *files], self.env, CHECKOUT)

    def run(self, command: Sequence[str]) -> int:
        """Run a command in the stack's environment, on the user's terminal. Returns its exit code."""
        with runnable(command):
            return subprocess.run(command, env=self.env, cwd=CHECKOUT).returncode

    def output(self, command: Sequence[str]) -> str:
        """Run a command in the stack's environment, which the terminal's Ctrl-C does not reach. Returns what it prints.

        Raises:
            Failed: it ended with another exit code than 0; the message has its last lines.
        """
        with runnable(command):
            done = subprocess.run(
                command, env=self.env, cwd=CHECKOUT, capture_output=True, text=True, start_new_session=True
            )
        if done.returncode:
            said = (done.stderr + done.stdout).strip().splitlines()[-15:]
            raise Failed("\n".join([f"{command[0]} failed (exit code {done.returncode}):", *said]))
        return done.stdout

    @property
    def backups(self) -> Path:
        return self.var / "backups"

    def database(self) -> database.Database:
        file = self.env.get("DATABASE_URL_FILE")
        return database.at(Path(file).read_text().strip() if file else self.env["DATABASE_URL"], self.env)

    def migrate(self) -> int:
        return self.run(["python", "-m", "lowtide.application", "manage", "migrate", "--noinput"])

    def develop(self) -> int:
        """Migrate, and run Django's own server until it is stopped. Returns its exit code."""
        # Preloading would answer requests at each change of the code.
        self.env |= {"DEBUG": "True", "DEBUG_TOOLBAR": "on", "HTTPS": "off", "PRELOAD": "off"}
        # On loopback whatever BIND says, because DEBUG shows the settings and the code to everybody who asks.
        address = f"127.0.0.1:{self.env['PORT']}"
        manage = ["python", "-m", "lowtide.application", "manage"]
        return self.migrate() or self.run([*manage, "runserver", address])

    def server_pid(self) -> int:
        """The main process of the server behind nginx; 0 when it does not run."""
        pid: int = (supervisor(self.env, "getProcessInfo", "uwsgi") or {}).get("pid", 0)
        return pid

    def kill(self, pids: Sequence[int]) -> None:
        """Kill processes of the server with SIGKILL."""
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except OverflowError:
                raise Failed(f"{pid} cannot be killed: {os.strerror(errno.ESRCH)}.") from None
            except OSError as error:
                raise Failed(f"{pid} cannot be killed: {error.strerror}.") from None
