"""No measuring command touches the user's database: it uses one of its own, or refuses."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import planted
from tests.machine import free_port

pytestmark = pytest.mark.stack

# Each command, with what it prints once it has filled a database. Then it is interrupted, as it would take minutes.
COMMANDS = {
    "loadtest": "load ",
    "loadtest.commands.sweep": "load ",
    "loadtest.commands.forks": "uWSGI as it comes",
    "loadtest.commands.ui": "Locust: http",
}
HARD_WIRED = """
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{path}"}}}}
"""


@dataclass
class Theirs:
    """A checkout with a database of the user beside it."""

    copy: Path
    path: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def untouched(self) -> bool:
        return self.path.read_bytes() == planted.users_database()

    def begin(self, module: str, *words: str, **settings: str) -> subprocess.Popen[str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        environment = kept | {"RUNTIME": "local", "SCENARIO": "smoke", "VARIANTS": "lowtide", "QUICK": ""}
        environment |= {
            "LOADTEST_PORT": str(free_port()),
            "LOCUST_PORT": str(free_port()),
            "RESULTS_DIR": str(self.folder / "results"),
        }
        environment |= {"VAR_DIR": str(self.folder / "v")} | settings
        command = [sys.executable, "-u", "-m", module, *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.copy, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    def run(self, module: str, *words: str, **settings: str) -> tuple[int, str]:
        with self.begin(module, *words, **settings) as process:
            out, _ = process.communicate(timeout=200)
        return process.returncode, out

    def interrupted(self, at: str, module: str, *words: str, **settings: str) -> tuple[int, str]:
        """As `run`, with a Ctrl-C as soon as it prints `at`."""
        with self.begin(module, *words, **settings) as process:
            assert process.stdout
            said = ""
            for line in process.stdout:
                said += line
                if at in line:
                    break
            process.send_signal(signal.SIGINT)
            said += process.communicate(timeout=100)[0]
        return process.returncode, said


@pytest.fixture
def theirs() -> Iterator[Theirs]:
    # tmp_path is too long for unix sockets.
    with tempfile.TemporaryDirectory(prefix="lowtide-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        copy, path = planted.checkout(folder), folder / "shop.sqlite3"
        # The state in which `make up` leaves a checkout.
        (copy / ".env").write_text(f"SECRET_KEY={'s' * 50}\n")
        path.write_bytes(planted.users_database())
        yield Theirs(copy, path, folder)


def in_settings(theirs: Theirs) -> None:
    planted.append(theirs.copy / "app/config/settings.py", HARD_WIRED.format(path=theirs.path))


def in_the_server_alone(theirs: Theirs) -> None:
    """This happens where manage.py and the WSGI module use different settings."""
    (theirs.copy / "app/config/production.py").write_text(
        "from config.settings import *  # noqa: F403\n" + HARD_WIRED.format(path=theirs.path)
    )
    wsgi = theirs.copy / "app/config/wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("config.settings", "config.production"))


@pytest.mark.parametrize("module", COMMANDS)
def test_measures_on_a_database_of_its_own(module: str, theirs: Theirs) -> None:
    """It does so although .env and the shell name another database."""
    planted.append(theirs.copy / ".env", f"DATABASE_URL={theirs.url}\n")
    code, said = theirs.interrupted(COMMANDS[module], module, DATABASE_URL=theirs.url)
    assert theirs.untouched(), said
    assert code == (0 if module.endswith("ui") else 130), said
    assert COMMANDS[module] in said
    assert (theirs.folder / "v/loadtest/stack/db.sqlite3").exists()


@pytest.mark.parametrize(
    ("module", "wired"),
    [
        ("loadtest", in_settings),
        ("loadtest", in_the_server_alone),
        ("loadtest.commands.sweep", in_settings),
        ("loadtest.commands.forks", in_settings),
        ("loadtest.commands.ui", in_settings),
        ("loadtest.commands.diagnose", in_the_server_alone),
    ],
)
def test_refuses_a_database_that_the_settings_name(
    module: str, wired: Callable[[Theirs], None], theirs: Theirs
) -> None:
    wired(theirs)
    code, said = theirs.run(module)
    assert theirs.untouched(), said
    assert code == 2, said
    line = said.splitlines()[-1]
    assert f"The application writes to the database {theirs.path}, which is not the experiment's own" in line
    assert f"--database-i-own {theirs.path}" in line


def test_diagnose_fills_a_database_of_its_own(theirs: Theirs) -> None:
    planted.append(theirs.copy / ".env", f"DATABASE_URL={theirs.url}\n")
    words = ("--path", "/admin/login/", "--times", "10", "--picture", "")
    code, said = theirs.run("loadtest.commands.diagnose", *words, DATABASE_URL=theirs.url)
    assert theirs.untouched(), said
    assert code in (0, 1), said
    assert "Verdict: " in said
    assert f"on a database of its own, {theirs.folder / 'v/loadtest/stack/db.sqlite3'}" in said


def test_what_the_user_owns_is_written_to_and_never_emptied(theirs: Theirs) -> None:
    in_settings(theirs)
    code, said = theirs.run("loadtest", "--database-i-own", str(theirs.path), SCENARIO="smoke small=10 large=1")
    assert code == 0, said
    assert not theirs.untouched()
    assert b"ada@example.com" in theirs.path.read_bytes()


def test_what_is_handed_over_is_looked_at_too(theirs: Theirs) -> None:
    code, said = theirs.run("loadtest", LOADTEST_ENV=f"DATABASE_URL={theirs.url}")
    assert code == 2, said
    assert "which is not the experiment's own" in said
    assert theirs.untouched()


def test_an_application_that_does_not_say_where_it_writes_is_sent_nothing(theirs: Theirs) -> None:
    wsgi = theirs.copy / "app/config/wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("\npreload(application)", ""))
    code, said = theirs.run("loadtest")
    assert code == 2, said
    assert "has not said where it writes, so nothing is sent: call lowtide.django.preload" in said
    settings = theirs.copy / "app/config/settings.py"
    settings.write_text(settings.read_text().replace('    "lowtide.django",\n', ""))
    code, said = theirs.run("loadtest")
    assert code == 2, said
    assert 'Put "lowtide.django" into INSTALLED_APPS' in said
