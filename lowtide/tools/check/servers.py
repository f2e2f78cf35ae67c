"""Reads the configuration of gunicorn and granian: file, environment and command line, each overriding the one before.

A setting that means the same as an option of uWSGI gets that option's name, so that the same rules apply to it;
Reading.spelling has the server's own name. `servers.json` has each setting with its flags and whether they take a
value. gunicorn's file is Python and is not run: constants and os.environ.get(NAME, default) have a value here, and
everything else is unknown.
"""

import ast
import contextlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lowtide.tools.check.files import read_text
from lowtide.tools.check.options import complete
from lowtide.tools.check.reader import Locate, Option, Reading
from lowtide.tools.check.syntax import Command, Problem, RawLine

_NAMES = json.loads(Path(__file__).with_name("servers.json").read_text(encoding="utf-8"))
_CANONICAL = {
    "gunicorn": {
        "workers": "processes",
        "max_requests_jitter": "max-requests-delta",
        "graceful_timeout": "worker-reload-mercy",
        "timeout": "harakiri",
        "preload_app": "preload",
    },
    "granian": {"workers": "processes", "workers-max-rss": "reload-on-rss"},
}
_TYPES = {"int": int, "float": float, "str": str, "bool": bool}


def read_server(command: Command, environ: Mapping[str, str], locate: Locate, main: Path) -> Reading:
    """Read the configuration that a command line of gunicorn or granian starts."""
    server = command.server
    names: dict[str, list[Any]] = _NAMES[server]
    spelling = {canonical: own for own, canonical in _CANONICAL[server].items()}
    for name in names:
        spelling.setdefault(name.replace("_", "-"), name)
    reading = Reading(server=server, spelling=spelling, known=frozenset(names), command=command, files=[main])
    flags = {flag: name for name, (all_flags, _) in names.items() for flag in all_flags}
    # These print something and set nothing.
    flags |= dict.fromkeys(("--help", "--version", "-v", "-h"), "")

    def find(flag: str) -> tuple[str, str] | str:
        # argparse, which gunicorn uses, takes abbreviations.
        name = flags.get(complete(flag, flags) if server == "gunicorn" else flag)
        if not name:
            return "" if name is None else ("", "")
        return "" if flag.startswith("--no-") else name, "required" if names[name][1] else "no"

    def split(words: Command) -> list[RawLine]:
        return [replace(line, active=True) for line in words.lines(find, reading.problems) if line.key]

    environment, arguments = _environment(server, names, environ), split(command)
    if server == "gunicorn":
        given = shlex.split(environ.get("GUNICORN_CMD_ARGS", ""))
        environment += split(Command(("gunicorn", *given), "", RawLine(None, 0, "", "")))
        named = next((line.value for line in reversed([*environment, *arguments]) if line.key == "config"), None)
        module = (named or "").removeprefix("python:").replace(".", "/") + ".py"
        path = locate(module if named and named.startswith("python:") else (named or "gunicorn.conf.py"))
        if path and path.is_file():
            reading.files.append(path)
            _read_file(path, environ, reading)
        elif named:
            reading.problems.append(Problem("include-not-read", named, command.line))
    for line in (*environment, *arguments):
        _add(reading, line, line.value, unknown="$" in line.value)
    reading.lines += environment + arguments
    return reading


def _add(reading: Reading, line: RawLine, written: str, unknown: bool) -> None:
    name = _CANONICAL[reading.server].get(line.key, line.key.replace("_", "-"))
    reading.options.append(Option(name, line.value, written, line.file, line.number, unknown=unknown))


def _environment(server: str, names: Mapping[str, Any], environ: Mapping[str, str]) -> list[RawLine]:
    variables = {f"GRANIAN_{name.upper().replace('-', '_')}": name for name in names}
    if server == "gunicorn":
        variables = {"WEB_CONCURRENCY": "workers"} if environ.get("WEB_CONCURRENCY", "").isdigit() else {}
    own = ((name, environ[variable]) for variable, name in variables.items() if variable in environ)
    return [RawLine(None, 0, name, value, active=True, form="command") for name, value in own]


def _read_file(path: Path, environ: Mapping[str, str], reading: Reading) -> None:
    text = read_text(path)
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError) as error:
        line = RawLine(path, getattr(error, "lineno", 1) or 1, "", "")
        reading.problems.append(Problem("not-parsed", f"No Python, and gunicorn exits: {error}", line))
        return
    names: dict[str, Any] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in (target for target in targets if isinstance(target, ast.Name)):
                value = names[target.id] = _value(statement.value, environ, names)
                source = ast.get_source_segment(text, statement.value) or ""
                shown = source if value is None else str(value)
                line = RawLine(path, statement.lineno, target.id, shown, active=True, form="python")
                reading.lines.append(line)
                if target.id in reading.known and not (value is False or source == "None"):
                    _add(reading, line, source, unknown=value is None)
    variables = (node for node in ast.walk(ast.Module(statements, [])) if isinstance(node, ast.Name))
    used = {variable.id for variable in variables if isinstance(variable.ctx, ast.Load)}
    # A name that the file itself reads is a variable and not a setting; so is one that is private or in capitals.
    keys = {line.key for line in reading.lines}
    reading.declared = {key for key in keys if key in used or key.startswith("_") or key.isupper()}


def _value(node: ast.expr, environ: Mapping[str, str], names: Mapping[str, Any]) -> Any:
    """The value of an expression; None if it is not known here."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    with contextlib.suppress(ArithmeticError, RecursionError, SyntaxError, TypeError, ValueError):
        if not isinstance(node, ast.Call):
            return ast.literal_eval(node)
        function, arguments = ast.unparse(node.func), [_value(argument, environ, names) for argument in node.args]
        if function in ("os.getenv", "os.environ.get", "getenv", "environ.get"):
            return environ.get(*arguments)
        if function in _TYPES and len(arguments) == 1 and arguments[0] is not None:
            return _TYPES[function](arguments[0])
    return None
