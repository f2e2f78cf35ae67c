"""Prints the locked requirements of the application's image, each package once: `make sbom` lists them.

The Dockerfile installs requirements/app.txt and uwsgi.txt. Where the application has the psycopg of postgresql.txt, it
compiles psycopg for Debian's libpq, in place of the wheel psycopg-binary.
"""

import re
from pathlib import Path

from stack import CHECKOUT


def packages(file: Path) -> dict[str, str]:
    """The requirements of a lock file by the package's name, each with the lines of its hashes."""
    entries = re.finditer(r"^([\w.-]+)==.*(?:\n[ \t].*)*", file.read_text(), re.MULTILINE)
    return {entry[1]: entry[0] for entry in entries}


def of_the_image(folder: Path) -> dict[str, str]:
    app, postgresql, uwsgi = (packages(folder / f"{name}.txt") for name in ("app", "postgresql", "uwsgi"))
    if "psycopg" in app and app["psycopg"].split()[0] == postgresql["psycopg"].split()[0]:
        app |= postgresql
        app.pop("psycopg-binary", None)
    return app | uwsgi


if __name__ == "__main__":
    print("\n".join(of_the_image(CHECKOUT / "requirements").values()))
