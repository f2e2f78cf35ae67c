"""The local runtime: uWSGI and nginx as plain processes on loopback, kept by supervisord.

    python stack/local.py [--env-file FILE] up | down | logs | prepare
    python stack/local.py run COMMAND...     in the stack's environment

Settings come from the environment, then .env, then .env.example; with --env-file from the environment and that file
alone. State (logs, sockets, SQLite, static files) is
under VAR_DIR, by default var/ in the checkout. For another server than uWSGI: SERVER_COMMAND, and PROTOCOL=http where
it speaks HTTP; SERVER_VARIABLES ("NAME=VALUE ...") is for the server alone.
Exit codes: 0 done, 2 could not, with one line that says why.
"""

import errno
import ipaddress
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xmlrpc.client
from pathlib import Path
from typing import Any, NoReturn

from dotenv import dotenv_values
from supervisor.xmlrpc import SupervisorTransport

from lowtide import application

CHECKOUT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SUPERVISOR_CONF = str(CHECKOUT / "stack/supervisord.conf")
START_SECONDS = 60
# Longer than supervisord gives nginx and uWSGI together.
STOP_SECONDS = 150


def fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise SystemExit(2)


def environment(env_file: str | None = None) -> dict[str, str]:
    """The variables that uwsgi.ini, nginx and the application read, for this runtime."""
    example, own = (dotenv_values(env_file or CHECKOUT / name) for name in (".env.example", ".env"))
    env = {key: value for key, value in own.items() if value} | dict(os.environ)
    # As in Compose, empty is unset.
    env |= {key: value for key, value in example.items() if value and not env.get(key)}
    var = Path(env.get("VAR_DIR", "") or CHECKOUT / "var").resolve()
    run = var / "run"
    local = {
        "CHECKOUT": str(CHECKOUT),
        "VAR_DIR": str(var),
        "RUN_DIR": str(run),
        "STATIC_ROOT": str(var / "static"),
        "LISTEN": f"{env['BIND']}:{env['PORT']}",
        "APPLICATION_CONF": str(run / "application.conf"),
        "ACCESS_LOG": str(var / "log/access.log"),
        "ERROR_LOG": str(var / "log/nginx.log"),
        "PATH": f"{BIN}:{env.get('PATH', '')}:/usr/sbin",
    }
    env.setdefault("SERVER_COMMAND", f"python -m lowtide.start uwsgi --ini {shlex.quote(f'{CHECKOUT}/uwsgi.ini')}")
    env.setdefault("SERVER_VARIABLES", "")
    env["APP_DIR"] = str(Path(env.get("APP_DIR") or CHECKOUT / "app").resolve())
    env.setdefault("DATABASE_URL", f"sqlite:///{var}/db.sqlite3")
    return env | local


def check(env: dict[str, str]) -> None:
    """Refuse what would fail later with a worse message."""
    if not env.get("SECRET_KEY"):
        fail("SECRET_KEY is not set: write one into .env, or remove .env, and `make up` makes a new one.")
    if not env["PORT"].isdecimal() or not 0 < int(env["PORT"]) < 65536:
        fail(f"PORT={env['PORT']} is not a port: give a number from 1 to 65535.")
    # A unix socket's path ends at 107 characters; supervisord's has 24 more than the folder's, with its process id.
    if len(env["RUN_DIR"]) > 83:
        fail(f"{env['RUN_DIR']} is too long for unix sockets: set VAR_DIR to a folder with a shorter path.")
    settings = subprocess.run(
        [sys.executable, "-m", "lowtide.start", "true"], env=env, cwd=CHECKOUT, capture_output=True, text=True
    )
    if settings.returncode:
        fail(settings.stderr.strip())
    try:
        address = str(ipaddress.IPv4Address(env["BIND"]))
    except ValueError:
        fail(f"BIND={env['BIND']} is not an IPv4 address: write 127.0.0.1, or 0.0.0.0 for all of this machine.")
    with socket.socket() as probe:
        # As nginx binds: connections of an earlier start that are still closing do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, int(env["PORT"])))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                fail(f"Port {env['PORT']} is in use: stop what listens there, or choose another with PORT=...")
            fail(f"nginx cannot listen on BIND={address} PORT={env['PORT']}: {error.strerror}.")


def install_nginx(env: dict[str, str]) -> None:
    missing = [
        package
        for command, package in (("nginx", "nginx-light"), ("envsubst", "gettext-base"))
        if not shutil.which(command, path=env["PATH"])
    ]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        fail(
            f"The local runtime needs nginx and envsubst. On Debian or Ubuntu: sudo apt-get install {' '.join(missing)}"
        )
    print(f"Installing {' and '.join(missing)} from Debian", flush=True)
    log = Path(env["VAR_DIR"]) / "log/apt.log"
    # Debian starts nginx on port 80 when it is installed; RUNLEVEL=1 keeps it from that.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with log.open("w") as out:
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
        ):
            if subprocess.run(command, stdout=out, stderr=out, env=env | quiet).returncode:
                fail(f"`{' '.join(command)}` failed: {log} says why.")


def supervisor(env: dict[str, str], method: str, *arguments: str) -> Any:
    """What this VAR_DIR's supervisord answers, through its XML-RPC interface; None where it does not run or refuses."""
    transport = SupervisorTransport(serverurl=f"unix://{env['RUN_DIR']}/supervisor.sock")
    try:
        return getattr(xmlrpc.client.ServerProxy("http://localhost", transport).supervisor, method)(*arguments)
    except (OSError, xmlrpc.client.Error):
        return None


def ready(url: str) -> str:
    """Empty when the site is ready, else what it said."""
    # As JSON, nginx's own error pages are one line too.
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return "" if answer.status == 200 else f"{url} answered {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answered {error.code}: {error.read(300).decode(errors='replace').strip()}"
    except OSError as error:
        return f"{url}: {error}"


def given_up(env: dict[str, str]) -> str:
    """The program that supervisord no longer tries to start, or empty."""
    programs = supervisor(env, "getAllProcessInfo") or []
    return next((str(program["name"]) for program in programs if program["statename"] == "FATAL"), "")


def prepare(env: dict[str, str]) -> None:
    """Tables and static files, as the application expects them: side by side, most of either is Django's start."""
    manage = [sys.executable, "-m", "lowtide.application", "manage"]
    running = {
        name: subprocess.Popen([*manage, name, "--noinput", "--verbosity=0"], env=env, cwd=CHECKOUT)
        for name in ("migrate", "collectstatic")
    }
    failed = [name for name, process in running.items() if process.wait()]
    if failed:
        fail(f"`manage.py {failed[0]}` failed: what it printed above says why.")


def described(env: dict[str, str]) -> application.Application:
    """What the application says of itself; refused where something in it cannot be used."""
    try:
        found = application.read(Path(env["APP_DIR"]))
        application.check(found)
    except application.Invalid as problem:
        fail(str(problem))
    return found


def up(env: dict[str, str]) -> None:
    if supervisor(env, "getPID"):
        down(env)
    app = described(env)
    env["WSGI_CALLABLE"] = app.wsgi
    check(env)
    for name in ("log", "run", "static"):
        (Path(env["VAR_DIR"]) / name).mkdir(parents=True, exist_ok=True)
    install_nginx(env)
    Path(env["APPLICATION_CONF"]).write_text(app.nginx)
    tested = subprocess.run([str(CHECKOUT / "nginx/start"), "-t"], env=env, capture_output=True, text=True)
    if tested.returncode:
        fail(tested.stderr.strip())
    prepare(env)
    subprocess.run([str(BIN / "supervisord"), "-c", SUPERVISOR_CONF], env=env, cwd=CHECKOUT, check=True)
    url = f"http://{env['BIND']}:{env['PORT']}"
    deadline = time.monotonic() + START_SECONDS
    while problem := ready(f"{url}/readyz"):
        program = given_up(env)
        if program or time.monotonic() > deadline:
            print(*tail(Path(env["VAR_DIR"]) / f"log/{program or 'uwsgi'}.log", 15), sep="\n", file=sys.stderr)
            down(env)
            if program:
                fail(f"{program} ends as soon as it is started. Its log is above, and in {env['VAR_DIR']}/log")
            fail(f"Not ready after {START_SECONDS} s: {problem}. Logs: {env['VAR_DIR']}/log")
        time.sleep(0.1)
    print(f"Lowtide answers at {url} (local runtime, logs in {env['VAR_DIR']}/log). `make down` stops it.")


def down(env: dict[str, str]) -> None:
    pid = supervisor(env, "getPID")
    if pid is None:
        print("Nothing is running.")
        return
    # nginx first, and to its end, so that requests in flight still find uWSGI. Each by its name: supervisord answers
    # that at once, while in its own shutdown it looks once a second at what still runs, and takes several looks.
    for call in (("stopProcess", "nginx"), ("stopProcess", "uwsgi"), ("shutdown",)):
        supervisor(env, *call)
    deadline = time.monotonic() + STOP_SECONDS
    while Path(f"/proc/{pid}").exists() or supervisor(env, "getPID"):
        if time.monotonic() > deadline:
            fail(f"supervisord (pid {pid}) is still stopping after {STOP_SECONDS} s: see {env['VAR_DIR']}/log")
        time.sleep(0.1)


def tail(path: Path, lines: int) -> list[str]:
    return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []


def logs(env: dict[str, str]) -> int:
    files = sorted(str(path) for path in (Path(env["VAR_DIR"]) / "log").glob("*.log"))
    if not files:
        fail("There are no logs yet: `make up` first.")
    return subprocess.run(["tail", "-n", "20", "-F", *files]).returncode


def run(env: dict[str, str], command: list[str]) -> int:
    return subprocess.run(command, env=env, cwd=CHECKOUT).returncode


def main(arguments: list[str]) -> int:
    env_file = None
    if arguments[:1] == ["--env-file"]:
        env_file, arguments = "".join(arguments[1:2]), arguments[2:]
    env = environment(env_file)
    match arguments:
        case ["up"]:
            up(env)
        case ["down"]:
            down(env)
        case ["prepare"]:
            prepare(env)
        case ["logs"]:
            return logs(env)
        case ["run", *command] if command:
            return run(env, command)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
