"""Finds the command line that starts a server in a Dockerfile, a Compose service, a Kubernetes or ECS container, a
supervisor program, a systemd service, a Procfile or a shell script; and finds the server's files on this machine."""

import configparser
import contextlib
import json
import math
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

from lowtide.tools.check.compose import interpolate
from lowtide.tools.check.container import Container, parse_duration, read_container
from lowtide.tools.check.env_file import read_env_file
from lowtide.tools.check.files import UnreadableError, read_text
from lowtide.tools.check.options import load_options
from lowtide.tools.check.syntax import SERVER, Command, RawLine
from lowtide.tools.sizes import docker_mb

# Words that may stand before a server's name: programs that run the rest of the line, and behind them their options and
# the name of a user.
_RUNNERS = re.compile(
    r"(.*/)?(exec|sudo|gosu|su-exec|tini|dumb-init|catatonit|env|nice|chroot|setpriv|uv|poetry|pipenv|pdm|python[\d.]*|run|"
    r"newrelic-admin|run-program|ddtrace-run|opentelemetry-instrument|-.*|\w+=.*)"
)
_BEHIND_RUNNERS = re.compile(rf"{_RUNNERS.pattern}|(.*/)?\w+(:\w+)?")
_SHELLS = re.compile(r"(.*/)?(ba|da|a|z)?sh")
# What is in a file that describes containers.
_CONTAINERS = re.compile(
    r"^[\s{]*\"?(services|kind|containerDefinitions|taskDefinition|Resources|family)\"?:|^\W+(name: *)?UWSGI_\w+", re.M
)
_SUBSTITUTION = re.compile(r"\$\(+([^()]*)\)+|`([^`]*)`")

SYSTEMD_GRACE = 90


class _Values(dict[str, str]):
    """Variables for `interpolate`. An unknown one becomes $(NAME), which no rule takes for a value."""

    def get(self, name: str, default: str | None = None) -> str:  # type: ignore[override]
        return dict.get(self, name, f"$({name})")


@dataclass
class Start:
    """How a server is started: the command, its environment and its container. `copies` are pairs of a path in the
    container and the path here from which it was copied, `commands` a Dockerfile's ENTRYPOINT and CMD with their
    lines."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)
    container: Container = field(default_factory=lambda: Container("command line"))
    command: Command | None = None
    folder: str = "/"
    copies: list[tuple[str, Path]] = field(default_factory=list)
    commands: dict[str, tuple[str, int]] = field(default_factory=dict)

    def locate(self, name: str) -> Path | None:
        """The file on this machine that has this name where the server runs."""
        beside = self.path.parent
        full = posixpath.normpath(posixpath.join(self.folder, name))
        paths = [beside / name.lstrip("/"), beside / posixpath.relpath(full, self.folder), beside / Path(name).name]
        for inside, outside in self.copies:
            if full == inside or full.startswith(inside.rstrip("/") + "/"):
                paths.insert(0, outside / posixpath.relpath(full, inside))
            paths.insert(0, outside) if posixpath.join(inside, outside.name) == full else None
        return next((path for path in paths if path.is_file()), None)

    def set_command(self, words: list[str], line: RawLine) -> None:
        """Find the server's command in these words. If they start a script, read the script."""
        for number, word in enumerate(words):
            if SERVER.fullmatch(word):
                self.command = Command(tuple(words[number:]), "", line)
                return
            if _SHELLS.fullmatch(word) and len(words) > number + 2 and re.fullmatch("-[a-z]*c", words[number + 1]):
                self.read_shell(words[number + 2], line)
                return
            if (word.endswith(".sh") or "entrypoint" in word) and (path := self.locate(word)):
                self.read_shell(read_text(path), RawLine(path, 1, "", ""), script=True)
                if self.command:
                    return

    def read_shell(self, text: str, first: RawLine, script: bool = False) -> None:
        """Find the last server that a shell script starts, and apply the assignments before it."""
        values = _Values(self.environ)
        for number, row in _joined(text):
            row = _SUBSTITUTION.sub(_marked, row)
            if assignment := re.fullmatch(r"\s*(export\s+)?(\w+)=(\S+|\"[^\"]*\"|'[^']*')\s*", row):
                word = _expand(assignment[3].strip("\"'"), values)
                values[assignment[2]] = word
                if assignment[1] or assignment[2] in self.environ:
                    self.environ[assignment[2]] = word
                continue
            try:
                lexer = shlex.shlex(row, posix=True, punctuation_chars=True)
                lexer.whitespace_split = True
                words = list(lexer)
            except ValueError:
                continue
            segments: list[list[str]] = [[]]
            for word in words:
                segments.append([]) if word and set(word) <= set("();<>|&") else segments[-1].append(word)
            for segment in segments:
                line = RawLine(first.file, first.number + number - 1, "", "")
                self._segment(segment, values, line, script or len(segments) > 1)

    def _segment(self, words: list[str], values: _Values, line: RawLine, several: bool) -> None:
        words = words[1:] if words and words[0] in ("if", "then", "else") else words
        place = next((n for n, word in enumerate(words) if SERVER.fullmatch(word)), None)
        quoted = next((n for n, word in enumerate(words) if re.fullmatch("-[a-z]*c|--command", word)), None)
        if place is None and quoted is not None and len(words) > quoted + 1:
            self.read_shell(words[quoted + 1], line)
        if place is None or (place and not _RUNNERS.fullmatch(words[0])):
            return
        if not all(_BEHIND_RUNNERS.fullmatch(word) for word in words[:place]):
            return
        shell = "exec" if "exec" in words[:place] else "several" if several else "single"
        texts = (word for word in words[place:] if word not in ("$@", "$*", "${@}"))
        self.command = Command(tuple(_expand(word, values) for word in texts), shell, line)


def _marked(substitution: re.Match[str]) -> str:
    """Replace $(nproc) by one word, because the lexer would split it."""
    return f"\x01{re.sub(r'[^a-z0-9_]+', '-', substitution[1] or substitution[2])}\x02"


def _expand(word: str, values: _Values) -> str:
    with contextlib.suppress(ValueError):
        word = interpolate(word, values)
    return word.replace("\x01", "$(").replace("\x02", ")")


def find_start(
    path: Path, service: str | None, told: Mapping[str, str], shell: Mapping[str, str], dot_env: bool
) -> Start | None:
    """How this file starts a server; None if the file is a configuration of uWSGI itself. `told` are variables that
    override those in the file, `shell` those that Compose fills in.

    Raises UnreadableError, with what to do, if the file starts programs but no server.
    """
    name, suffix = path.name.lower(), path.suffix
    try:
        text = read_text(path)
    except UnreadableError:
        return None
    start, image = Start(path, dict(told)), Command(("uwsgi",), "image", RawLine(path, 1, "", ""))
    try:
        if "dockerfile" in name or "containerfile" in name:
            _dockerfile(start, text)
        elif suffix in (".yml", ".yaml", ".json") and _CONTAINERS.search(text):
            _contained(start, service, shell, dot_env)
        elif re.search(r"^\[program:", text, re.MULTILINE):
            _supervisor(start, text, service)
        elif suffix == ".service" or re.search(r"^ExecStart=", text, re.MULTILINE):
            _systemd(start, text)
        elif name == "procfile":
            start.container = Container("Procfile", stop_grace=30, signals_all=True, kind="service")
            for number, row in enumerate(text.splitlines(), 1):
                kind, _, command = row.partition(":")
                if kind == (service or "web"):
                    # The shell does not stay in front of a single command.
                    start.read_shell(f"exec {command}", RawLine(path, number, "", ""))
        elif suffix in (".sh", ".bash") or re.match(r"#!.*\b(ba|da|a)?sh\b", text):
            start.read_shell(text, image.line, script=True)
        elif suffix == ".py":
            start.environ = dict(shell)
            start.command = Command(("gunicorn", "-c", path.name), "", image.line)
        else:
            return None
    except ValueError as error:
        raise UnreadableError(f"{path}: not understood: {error}") from None
    if start.command is None and any(map(_sets_option, start.environ)):
        start.command = image
    if start.command is None:
        raise UnreadableError(f"{path}: no command of uWSGI, gunicorn or granian in it")
    return start


def _sets_option(variable: str) -> bool:
    """Whether a variable of the environment is an option of uWSGI."""
    name = variable.removeprefix("UWSGI_").lower().replace("_", "-")
    return variable.startswith("UWSGI_") and load_options().get(name) is not None


def _split(text: str, number: int) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None


def _dockerfile(start: Start, text: str) -> None:
    """Read the last stage, with what it inherits from the stages on which it is built."""
    bare = Start(start.path, container=Container("image"))
    stage, stages, arguments = deepcopy(bare), dict[str, Start](), dict[str, str]()
    for number, row in _joined(re.sub(r"\\[ \t]+$", r"\\", text, flags=re.MULTILINE), r"\s*(#|$)"):
        keyword, _, rest = (part.strip() for part in row.strip().partition(" "))
        keyword = keyword.upper()
        values = _Values({**arguments, **stage.environ, **start.environ})
        if keyword == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            stage = deepcopy(stages.get(words[0], bare) if words else bare)
            stages[words[-1] if words else ""] = stage
        elif keyword in ("ENV", "ARG"):
            pairs = _split(rest, number) if "=" in rest.split(" ")[0] else ["=".join(rest.split(None, 1))]
            for name, equals, value in (pair.partition("=") for pair in pairs):
                if equals:
                    (stage.environ if keyword == "ENV" else arguments)[name] = _expand(value, values)
        elif keyword == "WORKDIR":
            stage.folder = posixpath.join(stage.folder, _expand(rest, values))
        elif keyword in ("COPY", "ADD") and "--from" not in rest:
            *sources, target = json.loads(rest) if rest.startswith("[") else [w for w in rest.split() if w[:2] != "--"]
            inside = posixpath.normpath(posixpath.join(stage.folder, _expand(target, values)))
            stage.copies += [(inside, start.path.parent / source) for source in sources]
        elif keyword in ("CMD", "ENTRYPOINT"):
            # An ENTRYPOINT drops the CMD before it.
            stage.commands = {**(stage.commands if keyword == "CMD" else {}), keyword: (rest, number)}
        elif keyword == "STOPSIGNAL":
            stage.container = replace(stage.container, stop_signal=rest)
    start.environ, start.container = {**stage.environ, **start.environ}, stage.container
    start.folder, start.copies = stage.folder, stage.copies
    rest, number = next(reversed(stage.commands.values()), ("[]", 1))
    words = [word for command, _ in stage.commands.values() for word in _form(command)]
    start.set_command(words, RawLine(start.path, number, "", rest))


def _form(rest: str) -> list[str]:
    """The words of CMD or ENTRYPOINT: a JSON list is the exec form, anything else is run by a shell."""
    with contextlib.suppress(ValueError):
        if isinstance(words := json.loads(rest), list):
            return [str(word) for word in words]
    return ["/bin/sh", "-c", rest]


def _contained(start: Start, service: str | None, shell: Mapping[str, str], dot_env: bool) -> None:
    """Read a Compose service or a container of Kubernetes or ECS. Its settings override those of its Dockerfile."""
    container = read_container(start.path, service, shell, dot_env)
    own = {**container.environment, **start.environ}
    if container.dockerfile and container.dockerfile.is_file():
        built = Start(container.dockerfile, dict(own))
        _dockerfile(built, read_text(container.dockerfile))
        start.command, start.folder, start.copies, own = built.command, built.folder, built.copies, built.environ
        container = replace(container, stop_signal=container.stop_signal or built.container.stop_signal)
    start.environ, start.container, start.folder = own, container, container.folder or start.folder
    start.copies += [(inside, start.path.parent / outside) for outside, inside in container.volumes]
    if container.command:
        text = read_text(start.path).splitlines()
        last = container.command[-1].split()[-1]
        row = next((number for number, line in enumerate(text, 1) if last in line), 1)
        start.set_command(list(container.command), RawLine(start.path, row, "", " ".join(container.command)))


def _supervisor(start: Start, text: str, service: str | None) -> None:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";",))
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise UnreadableError(f"{start.path}: {str(error).splitlines()[0]}") from None
    for name in parser.sections():
        program = dict(parser[name])
        if name.startswith("program:") and (service is None or name == f"program:{service}"):
            start.folder = program.get("directory", "/")
            # Another file or the shell gives the value of %(ENV_NAME)s, so it is not known.
            grace = program.get("stopwaitsecs", "10")
            start.container = Container(
                f"program {name[8:]}",
                stop_grace=int(grace) if grace.isdecimal() else None,
                stop_signal=f"SIG{program.get('stopsignal', 'TERM').removeprefix('SIG')}",
                signals_all=program.get("stopasgroup", "false").lower() in ("true", "1", "yes"),
                kind="service",
            )
            pairs = re.findall(r"(\w+)=(?:\"([^\"]*)\"|'([^']*)'|([^,]*))", program.get("environment", ""))
            number = next(n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(f"[{name}]"))
            words = _split(re.sub(r"%\((?:ENV_)?(\w+)\)s", r"$(\1)", program.get("command", "")), number)
            start.set_command(words, RawLine(start.path, number, "", program.get("command", "")))
            if start.command:
                start.environ = {**{key: "".join(values) for key, *values in pairs}, **start.environ}
                return


def _systemd(start: Start, text: str) -> None:
    settings: dict[str, list[tuple[int, str]]] = {}
    for number, row in _joined(text, r"\s*[#;]"):
        name, equals, rest = row.partition("=")
        if equals:
            settings.setdefault(name.strip(), []).append((number, rest.strip()))

    def last(name: str, default: str = "") -> str:
        return settings.get(name, [(0, default)])[-1][1]

    for _, rest in settings.get("EnvironmentFile", []):
        path = start.path.parent / Path(rest.lstrip("-")).name
        if path.is_file():
            start.environ = {**read_env_file(path), **start.environ}
    for number, rest in settings.get("Environment", []):
        start.environ = {**dict(word.partition("=")[::2] for word in _split(rest, number)), **start.environ}
    signal, memory = last("KillSignal", "SIGTERM"), last("MemoryMax") or last("MemoryLimit")
    stop, nofile = last("TimeoutStopSec") or last("TimeoutSec"), last("LimitNOFILE").partition(":")[0]
    grace: float = SYSTEMD_GRACE
    # `infinity` and 0 are no end. systemd ignores what it does not understand.
    with contextlib.suppress(ValueError):
        grace = (math.inf if stop == "infinity" else parse_duration(stop)) or math.inf
    start.folder = last("WorkingDirectory", "/")
    start.container = Container(
        start.path.name,
        memory=docker_mb(memory) if re.fullmatch(r"\d+[KMGT]?", memory) else None,
        stop_grace=grace,
        stop_signal=signal,
        signals_all=signal == "SIGTERM" and last("KillMode", "control-group") == "control-group",
        nofile=int(nofile) if nofile.isdigit() else None,
        kind="service",
    )
    for number, rest in settings.get("ExecStart", []):
        words = _split(re.sub(r"(?<!%)%([a-zA-Z])", r"$(\1)", rest.lstrip("-@:+!")), number)
        values = _Values(start.environ)
        start.set_command([_expand(word, values) for word in words], RawLine(start.path, number, "", rest))


def _joined(text: str, left_out: str = "(?!)") -> Iterator[tuple[int, str]]:
    """The lines with the numbers of the first ones, where a backslash joins several. `left_out` matches those that do
    not count."""
    first, whole = 0, ""
    for number, row in enumerate(text.split("\n"), 1):
        if re.match(left_out, row):
            continue
        first = first if whole else number
        whole += row.removesuffix("\\") + " " * row.endswith("\\")
        if not row.endswith("\\"):
            yield first, whole
            whole = ""
    if whole:
        yield first, whole
