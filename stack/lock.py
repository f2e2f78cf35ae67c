"""Locks requirements/NAME.in into NAME.txt, with hashes: `make lock`, or `make lock ARGS=app`.

Newest versions are taken for the named files only; every other version stays, also where a file includes another.
Exit code 1, with what does not resolve, if one of them does not; the others are locked all the same.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from lowtide import application
from stack import CHECKOUT

NAMES = ("app", "postgresql", "uwsgi", "telemetry", "locust", "peers", "dev", "deploy", "audit")


def main(arguments: list[str]) -> int:
    made = argparse.ArgumentParser(prog="make lock", description=__doc__)
    made.add_argument("--folder", type=Path, default=CHECKOUT / "requirements", help=argparse.SUPPRESS)
    made.add_argument("--python", help=argparse.SUPPRESS)
    made.add_argument("--constraint", action="append", default=[], help=argparse.SUPPRESS)
    made.add_argument("--upgrade", action="store_true", help="take the newest versions, not only what is missing")
    made.add_argument("names", nargs="*", choices=[[], *NAMES], metavar="NAME", help=f"default: {' '.join(NAMES)}")
    given = made.parse_args(arguments)
    try:
        python = given.python or application.oldest_python(application.read(CHECKOUT / "app").python)
    except application.Invalid as problem:
        print(problem, file=sys.stderr)
        return 2
    failed = []
    # A fork has no requirements/deploy.in.
    for name in given.names or [name for name in NAMES if (given.folder / f"{name}.in").exists()]:
        options = [f"--constraint={path}" for path in given.constraint] + ["--upgrade"] * given.upgrade
        if not locked(given.folder, name, python, options):
            failed.append(name)
    if failed:
        print(
            f"Not locked, for the reasons above: {', '.join(f'requirements/{name}.in' for name in failed)}.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def locked(folder: Path, name: str, python: str, options: list[str]) -> bool:
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal"]
    what = ["--generate-hashes", "--no-emit-index-url", "--no-header", "--no-annotate", f"--python-version={python}"]
    files = [f"{name}.in", f"--output-file={name}.txt"]
    done = subprocess.run([*uv, *what, *options, *files], cwd=folder, stdout=subprocess.DEVNULL)
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
