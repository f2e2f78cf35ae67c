"""Three applications from the package index: `lowtide diagnose` has no false alarm on three pages of each.

    .venv/bin/python -m tests.lowtide.tools.diagnose.real FOLDER

Installs each application into a virtual environment in FOLDER, makes its data, and prints the rows of the table in
docs/diagnose.md. It takes some minutes. Exit code 1: a page does not answer with 200, or has a verdict that asks for
work.
"""

import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.machine import CHECKOUT

LIBRARIES = ("matplotlib", "objgraph")


@dataclass(frozen=True)
class Application:
    """An application: its package, the commands that make its data, and the pages.

    Attributes:
        commands: each runs in the virtual environment, in the application's folder.
        variables: of the environment in which the application runs.
    """

    package: str
    wsgi: str
    commands: tuple[tuple[str, ...], ...]
    variables: Mapping[str, str]
    pages: tuple[str, ...]

    @property
    def name(self) -> str:
        return re.split(r"[\[=]", self.package)[0]


SITE_SETTINGS = "SECRET_KEY = 'x' * 50; DEBUG = False; ALLOWED_HOSTS = ['*']"
KOLIBRI = (
    "--facility=Lowtide",
    "--superusername=admin",
    "--superuserpassword=of-the-tests",
    "--preset=nonformal",
    "--language_id=en",
)
APPLICATIONS = (
    Application(
        "wagtail==8.0.1",
        "mysite.wsgi:application",
        (
            ("wagtail", "start", "mysite", "."),
            ("python", "-c", f"print({SITE_SETTINGS!r}, file=open('mysite/settings/base.py', 'a'))"),
            ("python", "manage.py", "migrate"),
        ),
        {"DJANGO_SETTINGS_MODULE": "mysite.settings.base"},
        ("/", "/admin/login/", "/search/?query=home"),
    ),
    Application(
        "django-oscar[sorl-thumbnail]==4.2.1",
        "tests.lowtide.tools.diagnose.real_shop:application",
        (("python", "-m", "tests.lowtide.tools.diagnose.real_shop"),),
        {},
        ("/catalogue/", "/catalogue/book-7_8/", "/search/?q=Book"),
    ),
    Application(
        "kolibri==0.19.5",
        "kolibri.deployment.default.wsgi:application",
        (("kolibri", "manage", "provisiondevice", "--noinput", *KOLIBRI),),
        {},
        ("/en/auth/", "/en/learn/", "/api/public/info/"),
    ),
)


def make(application: Application, folder: Path) -> Mapping[str, str]:
    """Install it and make its data, unless that was done before; the environment in which it runs."""
    tools, data = folder / "venv" / application.name, folder / "data" / application.name
    environment = {
        "PATH": f"{tools / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "KOLIBRI_HOME": str(data),
        "SHOP_DATABASE": str(data / "db.sqlite3"),
        "PYTHONPATH": f"{CHECKOUT}:{data}",
        **application.variables,
    }
    if not (tools / "bin/python").exists():
        venv.create(tools, with_pip=True)
        install = [str(tools / "bin/pip"), "install", "--quiet", application.package, *LIBRARIES]
        subprocess.run(install, env=os.environ | {"PATH": environment["PATH"]}, check=True)
    if not data.exists():
        data.mkdir(parents=True)
        for command in application.commands:
            subprocess.run(command, cwd=data, env=environment, stdout=sys.stderr, check=True)
    return environment


def rows(application: Application, folder: Path) -> Iterator[tuple[bool, str]]:
    """For each page whether there is no alarm, and its row of the table."""
    environment = make(application, folder)
    for page in application.pages:
        words = ["--app", application.wsgi, "--path", page, "--format", "json", "--picture", "", "--timeout", "3000"]
        done = subprocess.run(
            ["python", "-m", "lowtide", "diagnose", *words],
            cwd=folder / "data" / application.name,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not done.stdout:
            yield False, f"| {application.name} | `{page}` | could not run | |"
            continue
        said = json.loads(done.stdout)
        evidence = said["evidence"]
        answered = all(status.startswith("200") for status in evidence["statuses"])
        words = [
            application.package,
            f"`{page}`",
            f"{said['verdict']}, {said['confidence']}",
            str(evidence["requests"]),
        ]
        yield done.returncode == 0 and answered, f"| {' | '.join(words)} |"


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder, alarms = Path(sys.argv[1]).resolve(), 0
    for application in APPLICATIONS:
        for quiet, row in rows(application, folder):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()
            alarms += not quiet
    return 1 if alarms else 0


if __name__ == "__main__":
    raise SystemExit(main())
