"""Bring a Django project into this checkout, in place of the sample application: `make adopt PROJECT=../myservice`.

The project's files replace app/, unchanged. app/lowtide.toml is written from what its files say, and requirements/ is
locked for it. What could not be known is said at the end. git still has the sample and the tests that go with it: its
own, and those of the template's tools, which a fork does not have either.

Exit code 2, and nothing changed, where something stands against it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from lowtide import application
from stack import CHECKOUT, Failed
from stack.adopt import description, project
from stack.adopt.project import Project

# Debian trixie's (Dockerfile).
IMAGE_PYTHON = (3, 13)


def main(arguments: list[str]) -> int:
    made = argparse.ArgumentParser(
        prog="make adopt", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("folder", metavar="PROJECT")
    made.add_argument("--manage", default="", metavar="MANAGE", help="which manage.py, where there are several")
    made.add_argument("--page", default="/", metavar="PAGE", help="the page that most visitors see (default: /)")
    given = made.parse_args(arguments)
    try:
        print(adopt(Path(given.folder).resolve(), given.manage, given.page))
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    return 0


def adopt(folder: Path, manage: str, page: str) -> str:
    """Bring in the project; returns what to tell the user.

    Raises:
        Failed: it cannot be done; nothing is changed.
    """
    check_tree(folder)
    try:
        name = application.read(CHECKOUT / "app").name
    except application.Invalid as problem:
        raise Failed(str(problem)) from None
    found = project.read(folder, manage)
    check_python(found)
    with tempfile.TemporaryDirectory(dir=CHECKOUT, prefix=".adopt-") as temporary:
        prepared = Path(temporary)
        locked = lock(found, prepared / "requirements")
        copy(found, prepared / "app")
        (prepared / "app" / application.NAME).write_text(description.text(found, name, page))
        try:
            described = application.read(prepared / "app")
        except application.Invalid as problem:
            raise Failed(str(problem)) from None
        (prepared / "app/variables.env").write_text(described.names)
        replace(prepared, locked)
    add_variables(described)
    return told(found)


def check_tree(folder: Path) -> None:
    if folder.is_relative_to(CHECKOUT) or CHECKOUT.is_relative_to(folder):
        raise Failed(f"{folder} and this checkout are within each other: adopt a project from a folder of its own.")
    if git("rev-parse", "--show-toplevel").strip() != str(CHECKOUT):
        raise Failed("This checkout is no git repository, so nothing would hold what is replaced: git init and commit.")
    if changed := git("status", "--porcelain"):
        raise Failed(f"Uncommitted changes would be lost ({changed.splitlines()[0].strip()} ...): commit them first.")
    ignored = git("ls-files", "--others", "--ignored", "--exclude-standard", "--", "app").splitlines()
    if kept := [name for name in ignored if "__pycache__" not in name]:
        raise Failed(f"{kept[0]} is in app/ and not in git, so it would be lost: move it away first.")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=CHECKOUT, capture_output=True, text=True).stdout


def check_python(found: Project) -> None:
    wanted, here = found.requirements.python, sys.version_info[:2]
    try:
        allowed = application.pythons(wanted) if application.oldest_python(wanted) else []
    except application.Invalid as problem:
        raise Failed(f"{found.requirements.source}: {problem}") from None
    if here not in allowed:
        raise Failed(
            f"{found.folder.name} needs Python {wanted}, and .venv has {here[0]}.{here[1]}: "
            "make adopt PYTHON=python3.x PROJECT=... makes another .venv."
        )
    if IMAGE_PYTHON not in allowed:
        found.unknown.append(
            f"Whether it runs in the image, which has Debian's Python 3.{IMAGE_PYTHON[1]}: the project needs {wanted}. "
            "RUNTIME=local uses this machine's."
        )


def lock(found: Project, folder: Path) -> list[str]:
    """Write the requirements and lock them into `folder`; returns the names of the files.

    Raises:
        Failed: they do not resolve, alone or together with the tools in .venv.
    """
    shutil.copytree(CHECKOUT / "requirements", folder)
    required = found.requirements
    lines = [f"# What the application needs wherever it runs, from {required.source or 'nothing'}.", *required.lines]
    if not {"psycopg", "psycopg2", "psycopg2-binary"} & required.names():
        lines += ["# The database in Docker is PostgreSQL.", "psycopg[binary]"]
    if "django" not in required.names():
        lines += ["# The project names it nowhere, or leaves it to another package.", "Django"]
    (folder / "app.in").write_text("".join(f"{line}\n" for line in lines))
    # Versions that stand in the output are kept.
    (folder / "app.txt").write_text("".join(f"{line}\n" for line in required.locked))
    python = application.oldest_python(required.python)
    resolve(found, folder, python, "app")
    constraint = folder / "application.txt"
    shutil.copy(folder / "app.txt", constraint)
    # The tools live with the application in .venv, so they take its versions.
    (folder / "dev.txt").unlink()
    resolve(found, folder, python, "dev", "--constraint", str(constraint))
    return ["app.in", "app.txt", "dev.txt"]


def resolve(found: Project, folder: Path, python: str, name: str, *options: str) -> None:
    command = [sys.executable, "-m", "stack.lock", "--folder", str(folder), "--python", python, *options, name]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if done.returncode:
        source = found.requirements.source
        with_tools = " together with this checkout's tools (requirements/dev.in)" if name == "dev" else ""
        raise Failed(f"{done.stderr.strip()}\nThe requirements in {source} do not resolve{with_tools}: see above.")


def copy(found: Project, target: Path) -> None:
    for path in found.files:
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(found.folder / path, target / path, follow_symlinks=False)


def replace(prepared: Path, locked: list[str]) -> None:
    """Put what was prepared in its places. The old application is moved first, so that a failure can be undone."""
    old, new = CHECKOUT / "app", prepared / "app"
    old.rename(prepared / "sample")
    new.rename(old)
    for name in locked:
        (prepared / "requirements" / name).replace(CHECKOUT / "requirements" / name)
    for path in sample_tests():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Tables of the sample would stand in the way of the project's migrations.
    var = Path(os.environ.get("VAR_DIR") or CHECKOUT / "var")
    for file in var.glob("db.sqlite3*"):
        file.rename(file.with_name(file.name.replace("db.sqlite3", "db-of-the-application-before.sqlite3")))


def sample_tests() -> list[Path]:
    """The tests that a fork does not have (copier.yml): of the sample application, and of the template's tools."""
    copier = CHECKOUT / "copier.yml"
    left_out = yaml.safe_load(copier.read_text())["_exclude"] if copier.exists() else ["/tests/app"]
    paths = [CHECKOUT / name[1:] for name in left_out if name.startswith("/tests/")]
    return [path for path in paths if path.exists()]


def add_variables(described: application.Application) -> None:
    """Give a .env that is already there the variables that it lacks, with fresh secrets."""
    env = CHECKOUT / ".env"
    if not env.exists():
        return
    present = {line.partition("=")[0].strip("# ") for line in env.read_text().splitlines()}
    lacking = {name: rule for name, rule in described.variables.items() if name not in present}
    with env.open("a") as file:
        file.write(application.env_lines(lacking))


def told(found: Project) -> str:
    required = found.requirements
    empty = [name.name for name in found.variables if not name.optional and not name.any_text_will_do]
    if empty:
        found.unknown.append(f"The values of {', '.join(empty)}: the settings need them. Write them into .env.")
    found.unknown.append("Which requests are large, and what visitors do: write `large`, [[preload]] and [loadtest].")
    found.unknown.append("What it needs of memory: `make loadtest`, then [measured] (docs/size.md).")
    return "\n".join(
        (
            f"Adopted {found.folder.name}: {len(found.files)} files replace app/. The sample's tests are gone.",
            "  git has the sample as it was: `git checkout -- .` and `git clean -df app` bring it back.",
            f"  settings      {found.settings or 'unknown'}",
            f"  WSGI callable {found.wsgi}",
            f"  requirements  {len(required.lines)} from {required.source or 'nothing'}",
            f"  Python        {required.python or 'any'}",
            f"  build         {'; '.join(found.build)}",
            f"  variables     {', '.join(variable.name for variable in found.variables) or 'none of its own'}",
            "  database      SQLite in var/ is set aside; in Docker, docker compose down --volumes deletes it",
            "What could not be known:",
            *(f"  - {sentence}" for sentence in found.unknown),
            "Look at app/lowtide.toml, then: make up",
        )
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
