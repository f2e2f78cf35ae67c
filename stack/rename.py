"""Give the service another name: in app/lowtide.toml, and in the files whose format cannot read it from there.

    python -m stack.rename NAME             in the checkout; `make rename NAME=...`

Needs only the standard library. Exit code 2 and one line where the name cannot be used; then nothing is changed.
"""

import re
import sys
from pathlib import Path

from lowtide import application

# What holds copies of the name: Compose, CloudFormation, Kubernetes, and the pages whose commands name their objects.
HOLDERS = (
    "docker-compose.yml",
    "deploy/aws/templates/*.yml",
    "deploy/kubernetes/**/*.yml",
    "docs/aws.md",
    "docs/kubernetes.md",
)
KEY = re.compile(r'^name = "(.*)"$', re.MULTILINE)


class Refused(Exception):
    """The name cannot be used; the message says why."""


def standing(name: str) -> re.Pattern[str]:
    """Where `name` stands for the service, and not for the package lowtide, its commands, or a folder in the images."""
    before = r"(?<![\w.])(?<!/run/)(?<!/srv/)(?<!:-)"
    after = r"(?![A-Za-z0-9.]|_(?!app\b)|/\w+\.py| (?:check|diagnose|size|top)\b)"
    return re.compile(before + name + after)


def holders(checkout: Path) -> list[Path]:
    """The files that hold copies of the name."""
    return sorted(path for pattern in HOLDERS for path in checkout.glob(pattern))


def check(name: str) -> None:
    """Check that a service can have this name.

    Raises:
        Refused: it cannot, for the reason that the message gives.
    """
    if not re.fullmatch(application.NAME_FORM, name):
        raise Refused(f"NAME={name} cannot be a name: write {application.NAME_RULE}.")


def copies(checkout: Path, old: str, new: str) -> dict[Path, str]:
    """The files that hold copies of the name, with the new one.

    Raises:
        Refused: the new name cannot be used.
    """
    check(new)
    for path in holders(checkout):
        if new != old and standing(new).search(path.read_text()):
            raise Refused(f"NAME={new} cannot be used: in {path.relative_to(checkout)} the word means something else.")
    return renamed(checkout, old, new)


def renamed(checkout: Path, old: str, new: str) -> dict[Path, str]:
    """The same without a check, for a checkout in which files have the old name and others have the new one."""
    return {path: standing(old).sub(new, path.read_text()) for path in holders(checkout)}


def main(arguments: list[str]) -> int:
    checkout = Path.cwd()
    try:
        match arguments:
            case [new]:
                old = application.read(checkout / "app").name
                texts = copies(checkout, old, new)
                description = checkout / "app" / application.NAME
                texts[description] = KEY.sub(f'name = "{new}"', description.read_text(), count=1)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (Refused, application.Invalid) as problem:
        print(problem, file=sys.stderr)
        return 2
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
