"""Reads the services of a Compose file as Compose does: with variables filled in, and extensions and env_file merged.

If `docker compose` is installed, it does this. Otherwise, or if it refuses the file, this module applies Compose's
rules itself. Compose may refuse a file that is only a part of a project, or whose `${NAME:?}` has no value here.
"""

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lowtide.tools.check.env_file import read_env_file

_SECONDS = 20
_MAX_DEPTH = 20
# A dollar sign that is text, $NAME, ${NAME} with an operator and a word, and what is none of them.
_REFERENCE = re.compile(
    r"\$(?:(\$|\{(?![a-z_]))|([a-z_]\w*)|\{([a-z_]\w*)(?:(:?[-?+])((?:(?!\$\{[a-z_])[^}])*))?\}"
    r"|\{[a-z_]\w*(?=[^\w}:?+-]|:[^?+-])[^$}]*\}?)",
    re.ASCII | re.IGNORECASE,
)
_SHIELDED, _SHOWN = {ord("$"): "\3", ord("}"): "\4"}, {3: "$", 4: "}"}


def services(path: Path, document: dict[str, Any], environ: Mapping[str, str], dot_env: bool) -> dict[str, Any]:
    """The services by name; `document` is the parsed YAML of the file at `path`.

    Without `dot_env` the `.env` beside the file is ignored, as Compose does when it is given another one.

    Raises:
        ValueError: a `${` that is not closed or an operator that does not exist.
    """
    if (asked := _ask_compose(path, environ, dot_env)) is not None:
        return asked
    beside = path.parent / ".env"
    values = {**(read_env_file(beside) if dot_env and beside.is_file() else {}), **environ}
    return {name: _complete(service, values, path.parent) for name, service in document["services"].items()}


def _ask_compose(path: Path, environ: Mapping[str, str], dot_env: bool) -> dict[str, Any] | None:
    command = ["docker", "compose", "--file", str(path), "--profile", "*"]
    command += [*([] if dot_env else ["--env-file", "/dev/null"]), "config", "--format", "json"]
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    # The output is itself a Compose file, in which each dollar is written as two.
    answer: dict[str, Any] = _map_text(json.loads(done.stdout)["services"], lambda text: text.replace("$$", "$"))
    return answer


def _complete(service: Any, values: Mapping[str, str], folder: Path) -> Any:
    """A service with its variables filled in and its env_file merged; `environment` overrides env_file."""
    filled = _map_text(service or {}, lambda text: interpolate(text, values))
    if not isinstance(filled, dict):
        return filled
    environment = filled.get("environment") or {}
    if isinstance(environment, list):
        pairs = (item.partition("=") for item in environment)
        environment = {name: value if equals else None for name, equals, value in pairs}
    variables: dict[str, str | None] = {}
    files = filled.get("env_file") or []
    for entry in files if isinstance(files, list) else [files]:
        path = folder / (entry["path"] if isinstance(entry, dict) else entry)
        # A later file overrides an earlier one; a missing file is left out.
        variables |= read_env_file(path) if path.is_file() else {}
    variables |= {name: values.get(name) if value is None else value for name, value in environment.items()}
    return {**filled, "environment": variables}


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _map_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_map_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Fill in Compose's `$NAME` and `${NAME}` with `:-` (also for an empty value), `-` (only if unset), `?`, `+`; `$$`.

    Raises:
        ValueError: a `${` that is not closed or an operator that does not exist.
    """

    def fill(reference: re.Match[str]) -> str:
        dollar, plain, name, operator, word = reference.groups(default="")
        if not (dollar or plain or name):
            raise ValueError(f"{reference[0]} is no variable of Compose's")
        value = reference[0].replace("$$", "$") if dollar else values.get(plain or name, "")
        there = name in values and (bool(value) or not operator.startswith(":"))
        if operator.endswith("-" if not there else "+"):
            value = interpolate(word, values)
        elif operator.endswith("+"):
            value = ""
        # What is filled in is not read again.
        return value.translate(_SHIELDED)

    # Each turn fills in the innermost references; a word may have others in it.
    filled = text
    for _ in range(_MAX_DEPTH):
        filled = _REFERENCE.sub(fill, filled)
    if "${" in filled:
        raise ValueError(f"a ${{ is not closed in {text!r}")
    return filled.translate(_SHOWN)
