"""A Compose project of the checkout, under a name and a port of its own."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from stack.docker import WITH_SECRETS, Docker
from tests import described
from tests.machine import CHECKOUT
from tests.stack.edge import wait_until

OVERLAY = Path(__file__).with_name("overlay.yml")
COMMAND_SECONDS = 280


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its exit code and what it printed. It may fail."""
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        env=env,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_SECONDS,
    )


class Stack(Docker):
    """A Compose project of docker-compose.yml. `env` is its whole environment and may be changed between `up`s."""

    def __init__(self, port: int, *overlays: Path) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.project = f"{described.NAME}-test-{port}"
        files = [word for overlay in (OVERLAY, *overlays) for word in ("--file", str(overlay))]
        files = ["--file", "docker-compose.yml", *files, "--env-file", os.devnull]
        # Nothing else is taken from the shell, because a variable that is set there would change what is tested.
        kept = {key: value for key, value in os.environ.items() if re.match("(PATH|HOME|DOCKER_.*)$", key)}
        own = {
            "PORT": str(port),
            # Texts that stand nowhere else, for tests that look where a secret is. A dollar is special to Compose.
            "SECRET_KEY": "planted-key-" * 5,
            "POSTGRES_PASSWORD": "planted-$owner/password",
            "APP_DATABASE_PASSWORD": "planted-$app/password",
            "HTTPS": "off",
            **described.VARIABLES,
        }
        super().__init__(kept | own, ["--project-name", self.project, *files])
        self.secrets_folder = CHECKOUT / "var/container-tests" / self.project

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` with these words. If it fails, so does the test, unless `check` is False."""
        done = self.ask(*words)
        if check and done.returncode:
            logs = "" if words[0] == "logs" else self.compose("logs", "--tail", "30", check=False).stdout
            pytest.fail(
                f"docker compose {' '.join(words)}: exit {done.returncode}\n{done.stderr[-4000:]}\n{logs[-6000:]}"
            )
        return done

    def up(self, *words: str) -> str:
        """Start it and wait, but build only if told to: the images are built once."""
        self.write_secrets()
        start = ("up", "--detach", "--wait", "--wait-timeout", "120", *words)
        if self.ask(*start).returncode:
            self.renews_nginx()
            self.compose(*start)
        return self.url

    def end(self) -> None:
        """Stop it, and remove its containers, volumes and networks. The profiles are named because their networks
        would stay otherwise, and an engine has room for about thirty."""
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "20")
        shutil.rmtree(self.secrets_folder, ignore_errors=True)
        mine = f"label=com.docker.compose.project={self.project}"
        assert run("docker", "network", "ls", "--quiet", "--filter", mine).stdout == "", "a network is left"

    def execute(self, service: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container, as the container's user."""
        return self.compose("exec", "-T", service, *command, check=check)

    def python(self, code: str) -> str:
        """What this line of Python prints in the application's container."""
        return self.execute("app", *WITH_SECRETS, "python", "-c", code).stdout.strip()

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "--all", "--quiet", service).stdout.strip()
        (state,) = json.loads(run("docker", "inspect", container).stdout)
        return dict(state)

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=30, allow_redirects=False)


@contextmanager
def container_of_postgresql(address: str, *options: str) -> Iterator[str]:
    """Compose's PostgreSQL in a container of its own, once it answers at `address` (host:port); the container's id."""
    started = run("docker", "run", "--detach", "--publish", f"{address}:5432", *options, "postgres:17")
    assert started.returncode == 0, started.stderr
    container = started.stdout.strip()
    try:
        # Over TCP, because the temporary server of a new database listens on its unix socket only.
        ready = ("docker", "exec", container, "pg_isready", "--host=127.0.0.1")
        wait_until("PostgreSQL is ready", lambda: run(*ready).returncode == 0, 30)
        yield container
    finally:
        run("docker", "rm", "--force", "--volumes", container)
