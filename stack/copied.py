"""What Copier runs in a fork that it has just made or renewed (copier.yml): names, links and the answers it goes by.

python -m stack.copied ANSWERS          Copier's answers as JSON
"""

import json
import re
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


# A link or a picture, on a line of its own or within one.
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
# Whatever Copier makes, a fork has these.
OWN = ("README.md", "LICENSE", "app")


def linked(page: Path, fork: Path) -> str:
    """The text of a page of the docs, in which what would lead to a file that forks do not have is no link."""

    def replaced(link: re.Match[str]) -> str:
        target = (page.parent / link[2]).resolve()
        inside = target.relative_to(fork.resolve()).parts if target.is_relative_to(fork.resolve()) else ()
        if "://" in link[2] or target.exists() or inside[:1] in {(name,) for name in OWN}:
            return link[0]
        return "" if link[0].startswith("!") else link[1]

    return re.sub(r"\n{3,}", "\n\n", LINK.sub(replaced, page.read_text()))


def main(answers: dict[str, str]) -> int:
    fork = Path.cwd()
    for path, text in rename.renamed(fork, TEMPLATE, answers["name"]).items():
        path.write_text(text)
    for page in (fork / "docs").glob("*.md"):
        page.write_text(linked(page, fork))
    write(fork, answers)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(json.loads(sys.argv[1])))
