"""Reads what a project requires: from requirements files, or from pyproject.toml of uv, Poetry or any other tool."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from stack import Failed

# Where projects keep the requirements of production, the best first.
FILES = (
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
    "requirements/base.txt",
    "requirements.in",
    "requirements/requirements.txt",
)


@dataclass
class Requirements:
    """What a project requires.

    Attributes:
        source: the file that says so.
        lines: requirements as in requirements files, without hashes.
        locked: versions that the project's lock file has, "name==version"; they are kept where nothing stands against.
        python: the versions of Python with which the project works, as in requires-python; empty where nothing says.
    """

    source: str = ""
    lines: list[str] = field(default_factory=list)
    locked: list[str] = field(default_factory=list)
    python: str = ""
    unknown: list[str] = field(default_factory=list)

    def names(self) -> set[str]:
        return {canonicalize_name(Requirement(line).name) for line in self.lines}


def read(folder: Path) -> Requirements:
    pyproject = toml(folder / "pyproject.toml")
    poetry = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    declared = pyproject.get("project", {})
    found = Requirements(python=str(declared.get("requires-python", "")))
    file = next((name for name in FILES if (folder / name).is_file()), "")
    if "dependencies" in declared and ((folder / "uv.lock").exists() or (folder / "poetry.lock").exists() or not file):
        found.source = "pyproject.toml"
        add(found, declared["dependencies"])
    elif poetry:
        found.source = "pyproject.toml (Poetry)"
        found.python = found.python or caret(str(poetry.get("python", "")))
        add(found, of_poetry(poetry, found))
    elif file:
        found.source = file
        add(found, of_file(folder / file, found))
    else:
        found.unknown.append("What the project requires: write it into requirements/app.in, then `make lock`.")
    for lock in ("uv.lock", "poetry.lock"):
        if found.source.startswith("pyproject") and (folder / lock).exists():
            found.source += f" and {lock}"
            packages = toml(folder / lock).get("package", [])
            found.locked = sorted(
                f"{package['name']}=={package['version']}" for package in packages if versioned(package)
            )
            break
    if not found.python and (pinned := folder / ".python-version").is_file():
        version = re.match(r"3\.\d+", pinned.read_text().strip())
        found.python = f">={version[0]}" if version else ""
    return found


def versioned(package: dict[str, Any]) -> bool:
    """Whether a package of a lock file comes from an index; the project itself does not."""
    source = package.get("source", {})
    return "version" in package and not {"editable", "virtual", "git", "directory", "path"} & set(source)


def toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text()) if file.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failed(f"{file} is not TOML: {error}.") from None


def add(found: Requirements, lines: Any) -> None:
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            found.unknown.append(f"What {line!r} in {found.source} is: no package of an index. It is left out.")
            continue
        if requirement.url:
            found.unknown.append(f"{requirement.name} comes from {requirement.url}, which has no hash. It is left out.")
        else:
            found.lines.append(str(requirement))


def of_file(file: Path, found: Requirements) -> Iterator[str]:
    """The requirements of a file and of those that it includes."""
    if not file.is_file():
        found.unknown.append(f"What {file} requires: there is no such file.")
        return
    # A backslash continues a line, and what follows it there is usually a hash.
    for line in file.read_text().replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*|\s--(hash|config-settings)\S*(\s+|=)\S+|\s--hash=\S+", "", line).strip()
        if included := re.match(r"(?:-r|--requirement)[\s=]*(\S+)", line):
            yield from of_file(file.parent / included[1], found)
        elif line.startswith("-"):
            found.unknown.append(f"What the option `{line.split()[0]}` of {file.name} would do: it is left out.")
        elif line:
            yield line


def of_poetry(dependencies: dict[str, Any], found: Requirements) -> Iterator[str]:
    for name, value in dependencies.items():
        rule = value if isinstance(value, dict) else {"version": value}
        if name == "python" or rule.get("optional"):
            continue
        if "version" not in rule:
            found.unknown.append(f"{name} comes from {', '.join(rule)}, which no lock file can hold. It is left out.")
            continue
        extras = f"[{','.join(rule['extras'])}]" if rule.get("extras") else ""
        marker = f" ; {rule['markers']}" if rule.get("markers") else ""
        yield f"{name}{extras}{caret(rule['version'])}{marker}"


def caret(text: str) -> str:
    """Poetry's form of versions in that of requirements files: "^1.2" is ">=1.2,<2", "~1.2" is ">=1.2,<1.3"."""
    said = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        sign, version = re.match(r"(\^|~(?!=)|)\s*(.*)", part).groups()  # type: ignore[union-attr]
        numbers = [int(number) for number in re.findall(r"\d+", version)]
        if not sign:
            said.append("" if part == "*" else f"=={part}" if part[0].isdigit() else part.replace(" ", ""))
            continue
        if sign == "^":
            # The first number that is not 0 must not change.
            place = next((n for n, number in enumerate(numbers) if number), len(numbers) - 1)
        else:
            place = min(1, len(numbers) - 1)
        upper = [*numbers[:place], numbers[place] + 1]
        said.append(f">={version},<{'.'.join(map(str, upper))}")
    return ",".join(filter(None, said))
