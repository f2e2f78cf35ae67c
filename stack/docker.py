"""The stack as containers: docker-compose.yml, through Docker Compose.

It needs only the standard library, so with Docker nothing is installed on the machine.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lowtide import application
from stack import CHECKOUT, Failed, database, logs, page

RUN_DIR = "/run/lowtide"


def followed(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a process that the terminal's Ctrl-C does not reach, with pipes for its input and its output."""
    return subprocess.Popen(
        command,
        env=dict(env),
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


class Docker:
    """A Compose project in the checkout. Every command runs with the environment `env`, which may be changed."""

    name = "docker"

    def __init__(self, env: Mapping[str, str], words: Sequence[str] = ()) -> None:
        self.env = dict(env)
        self._compose = ["docker", "compose", *words]

    def words(self, *words: str) -> list[str]:
        """The command line of `docker compose`, for a process that the caller starts."""
        return [*self._compose, *words]

    def call(self, *words: str, shown: bool = False) -> int:
        """Run `docker compose` on the user's terminal; unless `shown`, only errors are shown. Returns its exit code."""
        out = None if shown else subprocess.DEVNULL
        return subprocess.run(self.words(*words), env=self.env, cwd=CHECKOUT, stdout=out, check=False).returncode

    def follow(self, *words: str) -> subprocess.Popen[str]:
        """Start `docker compose` with pipes, for a command that ends when its standard input is closed."""
        return followed(self.words(*words), self.env)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` to its end, out of reach of the terminal's Ctrl-C; it may fail."""
        return subprocess.run(
            self.words(*words),
            env=self.env,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def tell(self, *words: str) -> str:
        """What `docker compose` prints.

        Raises:
            Failed: its exit code is not 0; the message has its last lines.
        """
        done = self.ask(*words)
        if done.returncode:
            said = (done.stderr + done.stdout).strip().splitlines()[-15:]
            raise Failed("\n".join([f"docker compose {words[0]} failed (exit code {done.returncode}):", *said]))
        return done.stdout

    def check_mine(self) -> None:
        """See that no other checkout has containers of this project's name, which every checkout of the service has.

        Raises:
            Failed: another checkout has; Compose would replace or stop its containers.
        """
        label = '{{.Label "com.docker.compose.project.working_dir"}}'
        for other in sorted(set(self.tell("ps", "--all", "--format", label).split("\n"))):
            if other and Path(other).is_dir() and not Path(other).samefile(CHECKOUT):
                raise Failed(
                    f"The checkout in {other} has containers of the same name: `make down` there, or set "
                    "COMPOSE_PROJECT_NAME to another name here."
                )

    def up(self) -> str:
        """Build, migrate, start, and wait until the site answers. Returns what to tell the user."""
        self.check_mine()
        try:
            described = application.read()
            application.check(described)
        except application.Invalid as problem:
            raise Failed(str(problem)) from None
        if (observe := self.env.get("OBSERVE")) not in (None, "", "0", "1"):
            raise Failed(f"OBSERVE={observe} cannot be used: write 1 to start the metrics too, or 0.")
        # By name, because --profile would replace the profiles of COMPOSE_PROFILES.
        services = [
            *(["metrics", "prometheus"] if observe == "1" else ()),
            *(["processes"] if described.processes else ()),
        ]
        if services:
            services = [*self.tell("config", "--services").split(), *services]
        if self.call("up", "--build", "--detach", "--wait", *services, shown=True):
            said = ["The stack did not start. What its containers said last, where one failed:", *self.last_words()]
            raise Failed("\n".join(said))
        url = f"http://{self.tell('port', 'nginx', '8080').strip()}"
        try:
            status = page.asked(url, described.page)
        except Failed as problem:
            last = self.said("15", "app")
            raise Failed("\n".join([*last, f"{problem} `make down` stops the site."])) from None
        observed = ""
        if observe == "1":
            addresses = [self.tell("port", *words).strip() for words in (("metrics", "9117"), ("prometheus", "9090"))]
            observed = "Metrics: http://{}/metrics\nPrometheus: http://{}\n".format(*addresses)
        return f"{observed}{described.title} answers at {url} (Docker). {status} `make down` stops it."

    def last_words(self) -> list[str]:
        """The last lines of each container that ended with an error, is restarting, or is unhealthy."""
        states = self.ask("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}").stdout
        lines: list[str] = []
        for line in states.splitlines():
            service, state, code, health = (*line.split(" "), "")[:4]
            if (state != "running" and code != "0") or state == "restarting" or health == "unhealthy":
                lines += self.said("4", service)
        return list(dict.fromkeys(lines))

    def said(self, lines: str, service: str) -> list[str]:
        """The last lines that a service logged."""
        return logs.readable_lines(self.ask("logs", "--no-color", "--tail", lines, service).stdout.splitlines())

    def down(self) -> str:
        self.check_mine()
        if self.call("--profile", "*", "down", shown=True):
            raise Failed("The containers could not be stopped: what Compose printed above says why.")
        return ""

    def logs(self) -> int:
        # Without the names of the containers, a pipe gets lines of JSON only.
        names = [] if sys.stdout.isatty() else ["--no-log-prefix"]
        return logs.show(self.words("logs", "--follow", "--tail", "50", "--no-color", *names), self.env, CHECKOUT)

    def run(self, command: Sequence[str]) -> int:
        """Run a command where the application runs, on the user's terminal. Returns its exit code."""
        self.check_mine()
        # `createsuperuser --noinput` reads these variables.
        options = [word for name in self.env if name.startswith("DJANGO_SUPERUSER_") for word in ("--env", name)]
        return self.call("exec", *options, "app", *command, shown=True)

    def output(self, command: Sequence[str]) -> str:
        """What a command prints where the application runs.

        Raises:
            Failed: it ended with another exit code than 0.
        """
        return self.tell("exec", "-T", "app", *command)

    @property
    def backups(self) -> Path:
        return Path(self.env.get("VAR_DIR") or CHECKOUT / "var") / "backups"

    def database(self) -> database.Database:
        """The database that `migrate` migrates: in a container of this project, or at an address of the user's."""
        self.check_mine()
        services = json.loads(self.tell("config", "--format", "json"))["services"]
        url = services["migrate"]["environment"]["DATABASE_URL"]
        parts = urlsplit(url)
        if parts.hostname not in services:
            return database.at(url, self.env)
        if not self.tell("ps", "--quiet", parts.hostname).strip():
            raise Failed(f"The container {parts.hostname}, which has the database, does not run: `make up` first.")
        name = parts.path.strip("/")
        arguments = [f"--username={unquote(parts.username or '')}", f"--dbname={name}"]
        return database.Postgres(name, arguments, self.env, self.words("exec", parts.hostname))

    def migrate(self) -> int:
        return self.call("run", "--rm", "--no-deps", "migrate", shown=True)

    def kill(self, pids: Sequence[int]) -> None:
        """Kill processes of the server with SIGKILL."""
        self.output(["bash", "-c", f"kill -9 {' '.join(map(str, pids))}"])
