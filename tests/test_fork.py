"""`make fork` and `make update`: what comes out works and is the fork's own, and an update loses nothing of it."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from lowtide import application
from tests.machine import CHECKOUT, with_package_index

pytestmark = [pytest.mark.skipif(not (CHECKOUT / "skeleton").exists(), reason="this project is a fork itself")]
IDENTITY = ("-c", "user.name=Template", "-c", "user.email=template@example.com")


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def git(folder: Path, *words: str) -> str:
    done = run(folder, "git", *IDENTITY, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fork(template: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(template, sys.executable, "-m", "stack.fork", *words, **variables)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this checkout as its first release."""
    folder = tmp_path_factory.mktemp("template") / "lowtide"
    for name in git(CHECKOUT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (CHECKOUT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "First release")
    git(folder, "tag", "0.1.0")
    return folder


@pytest.fixture
def template(released: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    folder = tmp_path / "template"
    shutil.copytree(released, folder)
    return folder


def with_tools(project: Path) -> None:
    """Give a project the packages of this checkout, so that make installs none."""
    tools, own = Path(sys.prefix), project / ".venv"
    own.mkdir()
    for name in ("bin", "lib"):
        (own / name).symlink_to(tools / name)
    shutil.copy(tools / "pyvenv.cfg", own)
    (own / ".installed").write_text(f"{project}\n")


def dead_links(project: Path) -> list[str]:
    """Links and pictures of the pages that lead to no file of the project."""
    return [
        f"{page.name}: {target}"
        for page in [project / "README.md", *(project / "docs").glob("*.md")]
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]


@pytest.mark.slow
def test_a_fork_works_at_once(template: Path, tmp_path: Path) -> None:
    git(template, "remote", "add", "origin", "https://ada:secret@example.com/lowtide.git")
    project = tmp_path / "pulse"
    done = fork(template, "pulse", str(project), "Ada Lovelace")
    assert done.returncode == 0, done.stderr
    assert git(project, "log", "--format=%an %s") == "Ada Lovelace Pulse, made from 0.1.0 of its template\n"
    assert git(project, "status", "--porcelain") == ""
    assert application.read(project / "app").name == "pulse"
    assert yaml.safe_load((project / "docker-compose.yml").read_text())["name"] == "pulse"
    assert "Ada Lovelace\nCopyright (c) 2026 The Lowtide" in (project / "LICENSE").read_text()
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers == {"_commit": "0.1.0", "_src_path": "https://example.com/lowtide.git", "name": "pulse"}
    files = git(project, "ls-files").splitlines()
    # Copied from here: the user model. All other packages of app/ are the demo's.
    demo = {path.name for path in (CHECKOUT / "app").iterdir() if path.is_dir()} - {"accounts", "config"}
    assert not [file for file in files if demo & set(Path(file).parts)]
    assert not [file for file in files if file.startswith(("results", "docs/images", "skeleton"))]
    # What is the fork's to read.
    own = [file for file in files if file.startswith(("app/", "tests/app/", "requirements/app.")) or "/" not in file]
    assert len(own) < 50, own
    assert dead_links(project) == []
    with_tools(project)
    linted = run(project, "make", "lint", RUNTIME="local")
    assert linted.returncode == 0, linted.stdout[-3000:] + linted.stderr
    words = [
        "tests/app",
        "tests/test_defaults.py",
        "tests/test_rename.py",
        "tests/stack/test_site.py::test_pages_answer",
    ]
    tested = run(project, ".venv/bin/pytest", "-q", "-n0", *words, RUNTIME="local")
    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr
    secrets = dotenv_values(project / ".env")
    generated = [name for name, variable in application.read(project / "app").variables.items() if variable.generate]
    assert generated
    assert all(secrets[name] for name in ("SECRET_KEY", "POSTGRES_PASSWORD", *generated))


@pytest.mark.night
@pytest.mark.timeout(5400)
def test_all_that_a_fork_runs_passes(template: Path, short: Path) -> None:
    """In the fork's own folder, with an environment that its make makes itself."""
    project = short / "pulse"
    assert fork(template, "pulse", str(project), "Ada Lovelace").returncode == 0
    settings = with_package_index() | {"QUICK": "1", "VARIANTS": "without lowtide"}
    began = time.monotonic()
    for words in ("lint", "test", "loadtest RUNTIME=local", "loadtest RUNTIME=docker"):
        done = run(project, "make", *words.split(), **settings)
        print(f"make {words}: {time.monotonic() - began:.0f} s\n{done.stdout[-600:]}", flush=True)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    assert len(list((project / "results").glob("*/memory.png"))) == 3


def test_a_fork_has_the_versions_that_are_tested_here() -> None:
    """After `make lock` follows `make lock ARGS="--folder skeleton/requirements app"`."""
    tested, theirs = (
        {line for line in (CHECKOUT / folder / "app.txt").read_text().splitlines() if "==" in line}
        for folder in ("requirements", "skeleton/requirements")
    )
    assert theirs <= tested


@pytest.mark.parametrize(
    ("words", "spoil", "said"),
    [
        (["My-Shop", "new"], "", "NAME=My-Shop cannot be a name: write 2 to 15 small letters and digits"),
        (["lowtide", "new"], "", "NAME=lowtide is the template's own name: choose another."),
        (["pulse", "there"], "mkdir there", "there is there already: choose another folder."),
        (["pulse", "new"], "touch stray", "This checkout has changes that are in no commit: commit them"),
        (["pulse", "new"], "rm -rf .git", "is no git repository with a commit: clone it"),
    ],
)
def test_refusals_are_one_line_and_leave_nothing(template: Path, words: list[str], spoil: str, said: str) -> None:
    if spoil:
        assert run(template, "sh", "-c", spoil.replace("mkdir there", "mkdir ../there")).returncode == 0
    name, destination = words
    done = fork(template, name, f"../{destination}", "Ada Lovelace")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (template.parent / "new").exists()


def test_without_git_or_an_author_there_is_no_fork(template: Path, tmp_path: Path) -> None:
    done = fork(template, "pulse", "../new", "Ada Lovelace", PATH=str(tmp_path))
    assert (done.returncode, "There is no git" in done.stderr) == (2, True)
    done = fork(template, "pulse", "../new", HOME=str(tmp_path), GIT_CONFIG_NOSYSTEM="1")
    assert (done.returncode, "write AUTHOR=..., or set git's user.name" in done.stderr) == (2, True)


@pytest.mark.slow
def test_an_update_loses_nothing_of_the_forks(template: Path, tmp_path: Path) -> None:
    """Both have changed the same line of uwsgi.ini, and different lines of docker-compose.yml."""
    project = tmp_path / "pulse"
    assert fork(template, "pulse", str(project), "Ada Lovelace").returncode == 0

    def change(folder: Path, file: str, old: str, new: str) -> None:
        text = (folder / file).read_text()
        assert text.count(old) == 1
        (folder / file).write_text(text.replace(old, new))

    change(project, "uwsgi.ini", "\nlisten = 1024\n", "\nlisten = 4096\n")
    change(project, "docker-compose.yml", "    mem_limit: 512m\n    healthcheck", "    mem_limit: 2g\n    healthcheck")
    change(project, "app/notes/views.py", "50).get_page", "20).get_page")
    (project / "deploy/kubernetes/overlays/ours.yml").write_text("namespace: pulse\n")
    shutil.rmtree(project / "app/accounts/migrations")
    commit(project, "Ours")
    change(template, "uwsgi.ini", "\nlisten = 1024\n", "\nlisten = 2048\n")
    change(template, "docker-compose.yml", "\nnetworks:\n", "\n# lowtide-app has a new neighbour.\nnetworks:\n")
    change(template, "skeleton/app/notes/views.py", "50).get_page", "100).get_page")
    (template / "stack/new.py").write_text('"""New."""\n')
    commit(template, "Second release")
    git(template, "tag", "0.2.0")

    done = run(project, sys.executable, "-m", "copier", "update", "--trust", "--defaults")
    assert done.returncode == 0, done.stderr
    conflict = (project / "uwsgi.ini").read_text()
    assert "<<<<<<<" in conflict
    assert "\nlisten = 4096\n" in conflict
    assert "\nlisten = 2048\n" in conflict
    compose = (project / "docker-compose.yml").read_text()
    assert "    mem_limit: 2g\n" in compose
    assert "# pulse-app has a new neighbour." in compose
    assert "lowtide-app" not in compose
    assert yaml.safe_load(compose)["name"] == "pulse"
    assert "20).get_page" in (project / "app/notes/views.py").read_text()
    assert (project / "deploy/kubernetes/overlays/ours.yml").read_text() == "namespace: pulse\n"
    assert not (project / "app/accounts/migrations").exists()
    assert (project / "stack/new.py").exists()
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["_commit"] == "0.2.0"
    changed = set(git(project, "status", "--porcelain", "--untracked-files=all").split("\n"))
    names = {line[3:] for line in changed if line}
    assert names == {".copier-answers.yml", "docker-compose.yml", "stack/new.py", "uwsgi.ini"}
