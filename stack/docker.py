"""The stack as containers: docker-compose.yml, through Docker Compose.

It needs only the standard library, so with Docker nothing is installed on the machine.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lowtide import application
from stack import CHECKOUT, Failed, database, logs, page, secrets

RUN_DIR = "/run/lowtide"
# A command in the application's container has no secrets in its environment by itself.
WITH_SECRETS = ("python", "-m", "lowtide.environment")
# Longer than a request may take (harakiri in uwsgi.ini), and the container's stop_grace_period.
DRAIN_S, STOP_S = 72, 75
# How long a new container may take until it is healthy.
START_S = 120


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
        self.secrets_folder = Path(self.env.get("VAR_DIR") or CHECKOUT / "var").resolve() / "secrets"
        self._env_file = [word for pair in pairwise(words) if pair[0] == "--env-file" for word in pair]

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
        done = subprocess.run(
            self.words(*words),
            env=self.env,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        done.stdout = done.stdout.replace(logs.ERASE, "")
        return done

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

    def secrets(self) -> dict[str, dict[str, str]]:
        """The secrets of the containers, from .env and the environment, as Compose reads both.

        Raises:
            Failed: one is missing, or app/lowtide.toml cannot be read.
        """
        try:
            described = application.read()
        except application.Invalid as problem:
            raise Failed(str(problem)) from None
        names = [*secrets.NAMES, *described.secrets]
        # A project of one service that never runs: Compose fills in its variables.
        text = json.dumps(
            {"services": {"any": {"image": "any", "environment": {name: f"${{{name}-}}" for name in names}}}}
        )
        command = [
            "docker",
            "compose",
            *self._env_file,
            "--project-name",
            "secrets",
            "--file",
            "-",
            "config",
            "--format",
            "json",
        ]
        env = {name: value for name, value in self.env.items() if not name.startswith("COMPOSE_")}
        done = subprocess.run(command, env=env, cwd=CHECKOUT, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip())
        filled = json.loads(done.stdout)["services"]["any"]["environment"]
        # Compose writes a dollar twice.
        variables = {name: (value or "").replace("$$", "$") for name, value in filled.items()}
        return secrets.made(variables, described.secrets, described.name)

    def _with_secrets(self) -> Path:
        self.env["SECRETS_DIR"] = str(self.secrets_folder)
        return self.secrets_folder

    def write_secrets(self) -> None:
        """Write the files that Compose mounts into the containers."""
        if secrets.write(self._with_secrets(), self.secrets()):
            # Compose does not look into the files, so it would leave containers that have the older ones.
            self.ask("--profile", "*", "rm", "--stop", "--force", "app", "migrate", "processes")

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
        self.write_secrets()
        # By name, because --profile would replace the profiles of COMPOSE_PROFILES.
        services = [
            *(["metrics", "prometheus"] if observe == "1" else ()),
            *(["processes"] if described.processes else ()),
        ]
        if services:
            services = [*self.tell("config", "--services").split(), *services]
        words = ("up", "--build", "--detach", "--wait", *services)
        failed = self.call(*words, shown=True)
        if failed and self.renews_nginx():
            failed = self.call(*words, shown=True)
        if failed:
            said = ["The stack did not start. What its containers said last, where one failed:", *self.last_words()]
            raise Failed("\n".join(said))
        url = f"http://{self.tell('port', 'nginx', '8080').strip()}"
        try:
            status = page.asked(url, described.page) + self.too_low()
        except Failed as problem:
            last = self.said("15", "app")
            raise Failed("\n".join([*last, f"{problem} `make down` stops the site."])) from None
        observed = ""
        if observe == "1":
            addresses = [self.tell("port", *words).strip() for words in (("metrics", "9117"), ("prometheus", "9090"))]
            observed = "Metrics: http://{}/metrics\nPrometheus: http://{}\n".format(*addresses)
        return f"{observed}{described.title} answers at {url} (Docker). {status} `make down` stops it."

    def renews_nginx(self) -> bool:
        """Whether nginx alone was unhealthy; its container is then removed, and another `up` is worth a try.

        nginx is unhealthy for a while after the application was away, and Compose's --wait gives up on that at once.
        """
        alone = self._in_trouble() == {"nginx"}
        if alone:
            self.ask("rm", "--stop", "--force", "nginx")
        return alone

    def too_low(self) -> str:
        """A sentence where workers are replaced all the time; empty where the server does not tell of its workers."""
        variables = json.loads(self.tell("config", "--format", "json"))["services"]["app"]["environment"]
        if variables["WORKER_MANAGEMENT"] != "lowtide":
            return ""
        sample = ("python", "-m", "lowtide.sample", "--stats", f"{RUN_DIR}/stats.sock", "--once")
        sampled = self.ask("exec", "-T", "app", *sample)
        return "" if sampled.returncode else page.too_low(sampled.stdout, variables["RELOAD_ON_RSS"])

    def replace(self) -> str:
        """Put a container of the present version in the place of the application's, without refusing a request.

        Raises:
            Failed: nothing was replaced; the old container serves on.
        """
        self.check_mine()
        old = self._containers()
        if len(old) != 1:
            raise Failed(f"{len(old)} containers of the application run, and replacing needs one: `make up` first.")
        secrets.write(self._with_secrets(), self.secrets())
        if self.call("build", shown=True):
            raise Failed("The images were not built, so nothing was replaced.")
        # Removed, so that the `up` makes it of the new image and waits for it.
        self.call("rm", "--force", "migrate")
        try:
            new = self._started_beside(old[0])
            if self._in_container(new, "python", "-m", "lowtide.beside", "take-over"):
                raise Failed("The new container did not take over, so it was removed; the old one serves on.")
        except BaseException:
            self._remove_all_but(old[0])
            raise
        served = self._drained(new)
        subprocess.run(["docker", "stop", "--time", str(STOP_S), *old], stdout=subprocess.DEVNULL, check=False)
        subprocess.run(["docker", "rm", *old], stdout=subprocess.DEVNULL, check=False)
        self._in_container(new, "python", "-m", "lowtide.beside", "settle")
        # They run code of the application's image, which is a new one now.
        for service in ("metrics", "processes"):
            if self.ask("ps", "--quiet", service).stdout.strip():
                self.call("up", "--detach", "--no-deps", "--no-build", "--force-recreate", service)
        url = f"http://{self.tell('port', 'nginx', '8080').strip()}"
        status = page.asked(url, application.read().page)
        cut = "" if served else f"Some requests ran for more than {DRAIN_S} s and were ended. "
        return f"The application was replaced. {cut}{status} nginx and the others stay as they are until `make up`."

    def _started_beside(self, old: str) -> str:
        """Migrate, start a second container, and wait until it is healthy; its id.

        Raises:
            Failed: it did not start; it may still be there.
        """
        # With its dependencies, and without --wait, which would also look at the old container's health.
        if self.call("up", "--detach", "--no-build", "--no-recreate", "--scale", "app=2", "app", shown=True):
            raise Failed(
                "\n".join([*self.last_words(), "The new version was not started; the old container serves on."])
            )
        (new,) = (container for container in self._containers("--all") if container != old)
        deadline = time.monotonic() + START_S
        while (state := self._state(new)) != "running healthy 0":
            if "unhealthy" in state or state[-1] != "0" or time.monotonic() > deadline:
                said = [*self.last_words(), f"The new container is {state.rpartition(' ')[0]}, so it was removed"]
                raise Failed("\n".join(said) + "; the old one serves on.")
            time.sleep(0.2)
        return new

    def _state(self, container: str) -> str:
        """Whether a container runs, its health, and how often it was started again."""
        form = "{{.State.Status}} {{.State.Health.Status}} {{.RestartCount}}"
        command = ["docker", "inspect", "--format", form, container]
        return (
            subprocess.run(command, env=self.env, capture_output=True, text=True, check=False).stdout.strip()
            or "gone 1"
        )

    def _containers(self, *options: str) -> list[str]:
        """The ids of the application's containers that run; with "--all" also of those that do not."""
        return self.tell("ps", "--quiet", "--no-trunc", *options, "app").split()

    def _in_container(self, container: str, *command: str) -> int:
        return subprocess.run(["docker", "exec", container, *command], env=self.env, check=False).returncode

    def _remove_all_but(self, kept: str) -> None:
        for container in self._containers("--all"):
            if container != kept:
                subprocess.run(["docker", "rm", "--force", container], stdout=subprocess.DEVNULL, check=False)
                self._in_container(kept, "rm", "-rf", f"{RUN_DIR}/{container[:12]}")

    def _drained(self, new: str) -> bool:
        """Wait until nginx has every answer for which it is connected to another server than the new one's.

        The kernel lists the connections to a unix socket, also those that no worker has taken yet, under the path at
        which the server has bound it.
        """
        sockets = rf" 0[23] +[0-9]+ {RUN_DIR}/([0-9a-f]{{12}}/)?(small|large)[.]sock$"
        connected = f"grep -E '{sockets}' /proc/net/unix | grep -qv /{new[:12]}/"
        # Two looks, because a connection may be made between the look and the next request.
        look = f"{connected} || {{ sleep 0.1; {connected} || exit 0; }}; sleep 0.1"
        waiting = f"for _ in {{1..{DRAIN_S * 10}}}; do {look}; done; exit 1"
        return self.ask("exec", "-T", "nginx", "bash", "-c", waiting).returncode == 0

    def _in_trouble(self) -> set[str]:
        """The services with a container that ended with an error, is restarting, or is unhealthy."""
        states = self.ask("ps", "--all", "--format", "{{.Service}} {{.State}} {{.ExitCode}} {{.Health}}").stdout
        services = set()
        for line in states.splitlines():
            service, state, code, health = (*line.split(" "), "")[:4]
            if (state != "running" and code != "0") or state == "restarting" or health == "unhealthy":
                services.add(service)
        return services

    def last_words(self) -> list[str]:
        """The last lines of each service that is in trouble."""
        return [line for service in sorted(self._in_trouble()) for line in self.said("4", service)]

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
        return self.call("exec", *options, "app", *WITH_SECRETS, *command, shown=True)

    def output(self, command: Sequence[str]) -> str:
        """What a command prints where the application runs.

        Raises:
            Failed: it ended with another exit code than 0.
        """
        return self.tell("exec", "-T", "app", *WITH_SECRETS, *command)

    @property
    def backups(self) -> Path:
        return Path(self.env.get("VAR_DIR") or CHECKOUT / "var") / "backups"

    def database(self) -> database.Database:
        """The database that `migrate` migrates: in a container of this project, or at an address of the user's."""
        self.check_mine()
        services = json.loads(self.tell("config", "--format", "json"))["services"]
        url = self.secrets()["migrate"]["DATABASE_URL"]
        parts = urlsplit(url)
        if not parts.hostname or parts.hostname not in services:
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
