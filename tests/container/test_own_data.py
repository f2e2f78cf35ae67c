"""In Docker, too, no measuring command touches the user's database: it uses one of its own, or refuses."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests import described, planted
from tests.container.stack import container_of_postgresql, run
from tests.machine import free_port

pytestmark = pytest.mark.container

HARD_WIRED = """
DATABASES["default"] = database("{url}")
"""


@dataclass
class Theirs:
    """A checkout whose containers reach a user's PostgreSQL server, which runs beside them."""

    copy: Path
    server: str
    url: str
    folder: Path

    def psql(self, statement: str) -> subprocess.CompletedProcess[str]:
        return run("docker", "exec", self.server, "psql", "--username=shop", "--no-align", "--command", statement)

    def rows(self) -> str:
        dump = run("docker", "exec", self.server, "pg_dump", "--username=shop", "--inserts")
        assert dump.returncode == 0, dump.stderr
        # Leave out the line with a random key, which pg_dump writes anew into each dump.
        return "\n".join(line for line in dump.stdout.splitlines() if not line.startswith("\\"))

    @contextmanager
    def migrations(self) -> Iterator[list[str]]:
        """A list that has a line for each migration of the experiment, once it is over."""
        of_this = {"project.working_dir": str(self.copy), "service": "migrate", "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in of_this.items()]
        lines: list[str] = []
        command = ["docker", "events", "--filter=event=start", *filters]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
            try:
                yield lines
            finally:
                events.terminate()
                lines += events.communicate()[0].splitlines()

    def loadtest(self, **settings: str) -> tuple[int, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environment = kept | {"RUNTIME": "docker", "SCENARIO": "smoke small=10 large=1", "VARIANTS": "lowtide"}
        environment |= {"LOADTEST_PORT": str(free_port()), "RESULTS_DIR": str(self.folder / "results")}
        environment |= {"VAR_DIR": str(self.folder / "var")} | settings
        command = [sys.executable, "-m", "loadtest"]
        done = subprocess.run(command, cwd=self.copy, env=environment, capture_output=True, text=True, timeout=250)
        return done.returncode, done.stderr


@pytest.fixture
def theirs(engine: None, tmp_path: Path) -> Iterator[Theirs]:
    copy = planted.checkout(tmp_path)
    compose = copy / "docker-compose.yml"
    # The application may call other services here, and the images have names that no other test uses.
    text = compose.read_text().replace("data: {internal: true}", "data: {}")
    text = text.replace(f"image: {described.NAME}-", "image: planted-")
    compose.write_text(text)
    port = free_port()
    subnet = run(
        "docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}"
    ).stdout.strip()
    # The address at which containers of any network reach this machine.
    gateway = next(ip_network(subnet).hosts())
    options = [f"--env={name}" for name in ("POSTGRES_USER=shop", "POSTGRES_DB=shop", "POSTGRES_PASSWORD=theirs")]
    with container_of_postgresql(f"{gateway}:{port}", *options) as server:
        theirs = Theirs(copy, server, f"postgres://shop:theirs@{gateway}:{port}/shop", tmp_path)
        # The state in which `make up` leaves a checkout.
        (copy / ".env").write_text(f"SECRET_KEY={'s' * 50}\nPOSTGRES_PASSWORD=of-the-site\nHTTPS=off\n")
        planted.manage(copy, theirs.url, "migrate", "--verbosity=0")
        added = theirs.psql(planted.ADD_ADA)
        assert added.returncode == 0, added.stderr
        yield theirs


def test_measures_on_a_database_of_its_own(theirs: Theirs) -> None:
    planted.append(theirs.copy / ".env", f"DATABASE_URL={theirs.url}\n")
    # Compose adds this file to docker-compose.yml by itself.
    text = f"services: {{app: &it {{environment: {{DATABASE_URL: '{theirs.url}'}}}}, migrate: *it}}\n"
    (theirs.copy / "docker-compose.override.yml").write_text(text)
    before = theirs.rows()
    assert "ada@example.com" in before
    with theirs.migrations() as migrations:
        code, said = theirs.loadtest(DATABASE_URL=theirs.url)
    assert theirs.rows() == before, said
    assert code == 0, said
    # It starts the stack at least twice: to fill the database, and to measure.
    assert len(migrations) == 1
    left = run("docker", "volume", "ls", "--quiet", "--filter", f"name={described.NAME}-loadtest-").stdout
    assert "_db" not in left


def test_refuses_a_database_that_the_settings_name(theirs: Theirs) -> None:
    planted.append(theirs.copy / "app/config/settings.py", HARD_WIRED.format(url=theirs.url))
    before = theirs.rows()
    code, said = theirs.loadtest()
    assert theirs.rows() == before, said
    assert code == 2, said
    last = said.splitlines()[-1]
    assert last.startswith("The application writes to the database shop@")
    assert "which is not the experiment's own" in last
    assert "theirs" not in last
