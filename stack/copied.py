"""What Copier runs in a fork that it has just made or renewed (copier.yml): the name, and what `make update` reads.

python -m stack.copied ANSWERS          Copier's answers as JSON
"""

import json
import sys
from pathlib import Path

from stack import rename

# This repository's name, which the files have as they come from it.
TEMPLATE = "lowtide"
ANSWERS = ".copier-answers.yml"


def write(fork: Path, answers: dict[str, str]) -> None:
    """Write the file from which Copier knows what the fork was made of."""
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in sorted(answers.items())]
    text = (
        "# Written by Copier: where this project comes from, and the commit that it has. Not to be changed by hand.\n"
    )
    (fork / ANSWERS).write_text(text + "".join(lines))


def main(answers: dict[str, str]) -> int:
    fork = Path.cwd()
    for path, text in rename.renamed(fork, TEMPLATE, answers["name"]).items():
        path.write_text(text)
    write(fork, answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
