"""`make adopt` brings projects of every make into a copy of this checkout, and refuses what would lose something."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from django.core.management import call_command

from lowtide import application
from stack.adopt import project, requirements
from tests.described import APPLICATION
from tests.planted import checkout

NEEDS = ["django>=5.2", "django-environ"]
PYPROJECT = f'[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = {json.dumps(NEEDS)}\n'
UV_LOCK = """
[[package]]
name = "django-environ"
version = "0.11.2"
source = { registry = "https://index.example/simple" }

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
"""
POETRY = """
[tool.poetry.dependencies]
python = "^3.11"
django = {version = "^5.2", extras = ["argon2"]}
django-environ = "~0.11"
shared = {path = "../shared"}
"""
FORMS: dict[str, Mapping[str, str]] = {
    "pip": {
        "requirements.txt": "-r more/base.txt\n--extra-index-url https://index.example/simple\n-e .\n",
        "more/base.txt": "django>=5.2 \\\n    --hash=sha256:0123\ndjango-environ  # settings\n",
    },
    "uv": {"pyproject.toml": PYPROJECT, "uv.lock": UV_LOCK},
    "poetry": {"pyproject.toml": POETRY, "poetry.lock": '[[package]]\nname = "django-environ"\nversion = "0.11.2"\n'},
}
SETTINGS = """
import environ
env = environ.Env()
SECRET_KEY = env("SHOP_SECRET_KEY")
PAY_TOKEN = env("PAY_TOKEN")
GREETING = env.str("GREETING", default="Hello")
INSTALLED_APPS += ["compressor"]
COMPRESS_OFFLINE = True
"""


def planted(folder: Path, files: Mapping[str, str]) -> Path:
    """A project in a folder of its repository, with the settings that Django makes and a few more."""
    (folder / "code").mkdir(parents=True)
    call_command("startproject", "shop", str(folder / "code"))
    production = folder / "code/shop/settings"
    production.mkdir()
    (folder / "code/shop/settings.py").rename(production / "base.py")
    (production / "dev.py").write_text("from .base import *\n")
    (production / "production.py").write_text(f"from .base import *\n{SETTINGS}")
    wsgi = folder / "code/shop/wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("shop.settings", "shop.settings.dev"))
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "web").mkdir()
    (folder / "web/package.json").write_text('{"scripts": {"build": "vite build"}}')
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_what_a_project_is_made_of(form: str, tmp_path: Path) -> None:
    found = project.read(planted(tmp_path / "shop", FORMS[form]))
    assert (str(found.manage), found.settings) == ("code/manage.py", "shop.settings.production")
    assert found.wsgi == "shop.wsgi:application"
    assert found.build == [
        "npm --prefix web install",
        "npm --prefix web run build",
        "manage.py collectstatic --noinput --verbosity=0",
        "manage.py compress --force",
    ]
    assert {variable.name: variable.optional for variable in found.variables} == {
        "SHOP_SECRET_KEY": False,
        "PAY_TOKEN": False,
        "GREETING": True,
    }
    assert found.requirements.names() == {"django", "django-environ"}
    assert found.requirements.locked == ([] if form == "pip" else ["django-environ==0.11.2"])
    assert found.requirements.python == {"pip": "", "uv": ">=3.11", "poetry": ">=3.11,<4"}[form]
    unknown = " ".join(found.unknown)
    assert ("--extra-index-url" in unknown) == (form == "pip")
    assert ("shared comes from path" in unknown) == (form == "poetry")
    assert "index.example" not in unknown


@pytest.mark.parametrize(
    ("poetry", "written"),
    [
        ("^1.2.3", ">=1.2.3,<2"),
        ("^0.2.3", ">=0.2.3,<0.3"),
        ("~1.2.3", ">=1.2.3,<1.3"),
        ("~1", ">=1,<2"),
        ("*", ""),
        ("1.2.*", "==1.2.*"),
        (">=1.2, <3", ">=1.2,<3"),
    ],
)
def test_poetrys_form_of_versions(poetry: str, written: str) -> None:
    assert requirements.caret(poetry) == written


@pytest.mark.parametrize(
    ("python", "oldest", "excluded"),
    [
        (">=3.12", (3, 12), (3, 11)),
        (">=3.11,<3.13", (3, 11), (3, 13)),
        ("~=3.12", (3, 12), (3, 11)),
        ("==3.12.*", (3, 12), (3, 13)),
        (">3.11", (3, 12), (3, 11)),
        (">=3.11.4,!=3.12.0,<4", (3, 11), (4, 0)),
    ],
)
def test_versions_of_python(python: str, oldest: tuple[int, int], excluded: tuple[int, int]) -> None:
    allowed = application.pythons(python)
    assert allowed[0] == oldest
    assert excluded not in allowed


def git(copy: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *words]
    return subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    made = checkout(tmp_path)
    git(made, "init", "-q")
    git(made, "add", "-A")
    git(made, "commit", "-qm", "the template")
    return made


def adopt(copy: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack.adopt", *words], cwd=copy, capture_output=True, text=True, timeout=240
    )


def test_a_project_takes_the_samples_place(copy: Path, tmp_path: Path) -> None:
    shop = planted(tmp_path / "shop", FORMS["uv"])
    before = (copy / "app/lowtide.toml").read_text()
    done = adopt(copy, str(shop), "--page", "/admin/login/")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (copy / "app").iterdir()} == {
        "code", "web", "pyproject.toml", "uv.lock", "lowtide.toml", "variables.env",
    }  # fmt: skip
    described = application.read(copy / "app")
    assert described.name == APPLICATION.name
    assert (described.settings, described.page) == ("shop.settings.production", "/admin/login/")
    assert described.variables["SHOP_SECRET_KEY"].generate
    assert not described.variables["PAY_TOKEN"].generate
    # The version that the project's lock has is kept, and every package has its hash.
    locked = (copy / "requirements/app.txt").read_text()
    assert "django-environ==0.11.2" in locked
    assert "--hash=sha256:" in locked
    assert "django-environ==0.11.2" in (copy / "requirements/dev.txt").read_text()
    assert "The values of PAY_TOKEN: the settings need them." in done.stdout
    # Nothing else was touched, and git still holds what was replaced.
    changed = {line[3:].partition("/")[0] for line in git(copy, "status", "--porcelain").splitlines()}
    assert changed == {"app", "requirements"}
    assert git(copy, "show", "HEAD:app/lowtide.toml") == before


def test_what_would_lose_something_is_refused(copy: Path, tmp_path: Path) -> None:
    shop = planted(tmp_path / "shop", {"requirements.txt": "django>=5.2\nno-such-package-anywhere==1\n"})
    for words, says in (
        ((str(tmp_path / "none"),), "none is no folder: write make adopt PROJECT="),
        ((str(tmp_path),), "are within each other"),
        ((str(shop / "web"),), "web has no manage.py, so it is no Django project"),
        ((str(shop), "--manage", "x/manage.py"), "MANAGE=x/manage.py is no file of"),
        ((str(shop),), "The requirements in requirements.txt do not resolve: see above."),
    ):
        done = adopt(copy, *words)
        assert (done.returncode, done.stdout) == (2, ""), done.stdout
        assert says in done.stderr.splitlines()[-1]
    (copy / "app/notes.txt").write_text("mine")
    assert "Uncommitted changes would be lost (?? app/notes.txt ...)" in adopt(copy, str(shop)).stderr
    git(copy, "add", "-A")
    git(copy, "commit", "-qm", "notes")
    assert git(copy, "status", "--porcelain") == ""
