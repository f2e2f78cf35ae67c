"""Write .env: .env.example with fresh secrets, and the application's own variables from its description.

python -m stack.write_env          in the checkout; needs only the standard library
"""

import os
import re
import secrets
import sys
from pathlib import Path

from lowtide import application

# A variable without a value in .env.example is a secret.
SECRET = re.compile(r"^(\w+)=$", re.MULTILINE)


def text(example: str, variables: str) -> str:
    """The content of .env."""
    return SECRET.sub(lambda line: line[0] + secrets.token_urlsafe(50), example) + variables


def main() -> int:
    try:
        described = application.read()
    except application.Invalid as problem:
        print(problem, file=sys.stderr)
        return 2
    os.umask(0o077)
    unfinished = Path(".env.new")
    unfinished.write_text(text(Path(".env.example").read_text(), described.env))
    unfinished.replace(".env")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
