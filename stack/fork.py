"""Make a new project of this repository: `make fork NAME=pulse DEST=../pulse`, optionally AUTHOR="Ada Lovelace".

    python -m stack.fork NAME DEST [AUTHOR]

Copier copies what stays the template's (copier.yml), so that `make update` in the fork brings later versions. What is
the fork's own comes from skeleton/ once. Exit code 2 and one line where it cannot be made; then nothing is left.
"""

import datetime
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import yaml

from lowtide import application
from stack import CHECKOUT, copied, rename

SKELETON = CHECKOUT / "skeleton"


class Refused(Exception):
    """The fork cannot be made; the message says why."""


def git(*words: str, folder: Path = CHECKOUT) -> str:
    """What git prints; empty where it fails."""
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def origin() -> str:
    """The address of the repository that forks are updated from, without a password; empty where there is none."""
    url = git("remote", "get-url", "origin")
    parts = urlsplit(url)
    return (
        urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme.startswith("http") else url
    )


def check(name: str, fork: Path, author: str) -> None:
    """Raises Refused where no fork can be made."""
    try:
        rename.copies(CHECKOUT, copied.TEMPLATE, name)
    except rename.Refused as problem:
        raise Refused(str(problem)) from None
    if name == copied.TEMPLATE:
        raise Refused(f"NAME={name} is the template's own name: choose another.")
    if not SKELETON.exists():
        raise Refused("This project is a fork itself: make another from the repository that it was made from.")
    if not shutil.which("git"):
        raise Refused("There is no git: install it, on Debian or Ubuntu with apt-get install git.")
    if not git("rev-parse", "HEAD"):
        raise Refused(f"{CHECKOUT} is no git repository with a commit: clone it, so that a fork can be updated.")
    if git("status", "--porcelain"):
        raise Refused("This checkout has changes that are in no commit: commit them, so that an update finds them.")
    if fork.exists():
        raise Refused(f"DEST={fork} is there already: choose another folder.")
    if not author:
        raise Refused("Nobody holds the licence: write AUTHOR=..., or set git's user.name.")


def make(name: str, fork: Path, author: str) -> None:
    """Make the fork, with a first commit. Raises Refused where Copier cannot."""
    # Imported here, because it takes half a second, which a refusal need not wait for.
    import copier

    source = origin()
    try:
        copier.run_copy(
            str(CHECKOUT),
            fork,
            data={"name": name},
            vcs_ref="HEAD",
            defaults=True,
            unsafe=True,
            quiet=True,
        )
    except copier.errors.UserMessageError as problem:
        raise Refused(str(problem)) from None
    answers = yaml.safe_load((fork / copied.ANSWERS).read_text())
    copied.write(fork, answers | {"_src_path": source or answers["_src_path"]})
    shutil.copytree(SKELETON, fork, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "app/accounts", fork / "app/accounts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "app/manage.py", fork / "app")
    description = fork / "app" / application.NAME
    description.write_text(rename.KEY.sub(f'name = "{name}"', description.read_text(), count=1))
    (fork / "app/variables.env").write_text(application.read(fork / "app").names)
    readme = fork / "README.md"
    template = re.sub(r"^git@([^:]+):", r"https://\1/", source).removesuffix(".git") or "docs/fork.md"
    readme.write_text(readme.read_text().format(title=name.capitalize(), template=template))
    holder = f"Copyright (c) {datetime.datetime.now(datetime.UTC).year} {author}"
    licence = (CHECKOUT / "LICENSE").read_text()
    # The template's licence asks that its own notice stays.
    (fork / "LICENSE").write_text(licence.replace("Copyright (c)", f"{holder}\nCopyright (c)", 1))
    email = git("config", "user.email", folder=fork.parent)
    git("init", "--quiet", "--initial-branch=main", folder=fork)
    git("add", "--all", folder=fork)
    made = ["-c", f"user.name={author}", "-c", f"user.email={email}", "commit", "--quiet"]
    git(*made, "--message", f"{name.capitalize()}, made from {answers['_commit']} of its template", folder=fork)


def main(arguments: list[str]) -> int:
    name, destination, author = (*arguments, "")[:3]
    fork = Path(destination).absolute()
    author = author or git("config", "user.name")
    try:
        check(name, fork, author)
        make(name, fork, author)
    except Refused as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"{fork} is {name.capitalize()}, in one commit. Next: cd {destination} && make up")
    if not origin():
        print(f"This checkout has no remote called origin: write its address as _src_path into {copied.ANSWERS} there.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
