"""Reads a uWSGI configuration the way uWSGI reads it.

Each function names the place in uWSGI 2.0.31's sources that it imitates. Where uWSGI would exit, the reader notes a
problem and continues, so that one run shows all problems. It executes nothing: where a value comes from a command, the
network or a name server, it notes that the value was not read.
"""

import glob
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lowtide.tools.check.files import MAX_FILE_BYTES, UnreadableError, read_text, shown
from lowtide.tools.check.magic import MagicTable, expand_magic
from lowtide.tools.check.options import Known, OptionTable, complete
from lowtide.tools.check.syntax import Command, Problem, RawLine, read_ini, read_json, read_xml, read_yaml
from lowtide.tools.check.values import leading_number

MAX_FILES = 200
MAX_OPTIONS = 5_000
MAX_EXPANSIONS = 1000

# Keywords that end a block anywhere (core/config.c:436).
BLOCK_ENDS = frozenset({"end", "endfor", "endif", "end-if", "end-for"})
# Environment variables that look like options but are not (core/utils.c:1601).
_NOT_OPTIONS = re.compile(
    "UWSGI_(RELOADS|VASSALS_DIR|EMPEROR_FD|BROODLORD_NUM|EMPEROR_FD_CONFIG|EMPEROR_PROXY|JAIL_PID|ORIGINAL_PROC_NAME)"
)
FORMS = {".ini": "ini", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".js": "json", ".xml": "xml"}
_READERS = {"ini": read_ini, "yaml": read_yaml, "json": read_json, "xml": read_xml}
Locate = Callable[[str], Path | None]
# The marks of a template (Jinja, Helm, ERB, EJS). A statement or a comment becomes nothing, an expression becomes a
# value.
_STATEMENT = re.compile(r"\{%[^%]*%\}|\{#[^#]*#\}|<%(?!=)[^%]*%>")
_EXPRESSION = re.compile(r"\{\{-?([^{}]*)\}\}|<%=([^%]*)%>")


@dataclass
class Option:
    """One option in uWSGI's list (struct uwsgi_opt).

    `written` is the text in the file, `value` what uWSGI has after expansion. `line` counts from 1; an option from the
    environment has the file None and the line 0. `unknown`: the value is computed only where the server runs.
    """

    name: str
    value: str
    written: str
    file: Path | None = None
    line: int = 0
    configured: bool = False
    inherited: bool = False
    unknown: bool = False


@dataclass
class Reading:
    """Everything that the server knows after reading its configuration.

    `options` are in uWSGI's order and include placeholders and block keywords. `lines` are all `key = value` lines of
    the sections that were read, also those in blocks whose condition is false. For another server than uWSGI,
    `spelling` has its names for uWSGI's options, and `known` all names of its own.
    """

    options: list[Option] = field(default_factory=list)
    lines: list[RawLine] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    server: str = "uwsgi"
    spelling: dict[str, str] = field(default_factory=dict)
    known: frozenset[str] = frozenset()
    command: Command | None = None


class Reader:
    """Does what uWSGI does at its start, from the environment to the last inherited file (core/uwsgi.c:2256-2271).

    `environ` is uWSGI's environment and `cwd` its working directory. `locate` finds a file on this machine that has
    another path where uWSGI runs, such as a file of an image.
    """

    def __init__(self, table: OptionTable, environ: Mapping[str, str], cwd: Path, locate: Locate | None = None) -> None:
        self.table = table
        self.environ = dict(environ)
        self.cwd = cwd
        self.locate = locate
        self.reading = Reading()
        self.magic = MagicTable(cwd, table.version)
        self._block: tuple[str, str, RawLine] | None = None
        self._block_running = False
        self._open: list[tuple[Path, str]] = []
        self._loads = 0
        self._last_file: Path | None = None
        self._inheriting = False

    def read(self, target: str) -> Reading:
        """Read the configuration `target`, a path with an optional `:section`, as `uwsgi --ini target` would.

        Raises UnreadableError.
        """
        self._read_environment()
        self._load(target, None)
        return self._finish()

    def read_command(self, command: Command) -> Reading:
        """Read a command line (uwsgi_commandline_config, core/config.c:264): first its options in order, then the words
        that belong to no option."""
        self.reading.command = command
        self._read_environment()
        if command.shell == "image":
            self._problem("include-not-read", "The command of the image", command.line)
        words: list[str] = []
        for line in command.lines(self._find_flag, self.reading.problems):
            if line.key:
                self.reading.lines.append(line)
                self._add(line.key, line.value, line)
            else:
                words.append(line.value)
        for word in words:
            if Path(word.partition(":")[0]).suffix in FORMS:
                self._load(word, command.line)
        return self._finish()

    def _find_flag(self, flag: str) -> tuple[str, str] | str:
        name = flag[2:] if flag.startswith("--") else self.table.short.get(flag[1], flag)
        if known := self.table.get(complete(name, self.table.names)):
            return known.name, known.argument
        near = self.table.nearest(name) if len(self.reading.problems) < MAX_FILES else None
        return f"--{near}" if near else ""

    def _finish(self) -> Reading:
        if self._block:
            name, _, line = self._block
            self._problem("block-open", name, line)
        self._expand("$", self.environ.get)
        self._expand("@", lambda name: (text := self._read_file(name)) and text.rstrip("\n"))
        self._expand("%", self._placeholder)
        self._configure()
        return self.reading

    def _problem(self, kind: str, detail: str, line: RawLine) -> None:
        self.reading.problems.append(Problem(kind, detail, line))

    def _read_environment(self) -> None:
        """Read options from the environment: UWSGI_MAX_REQUESTS=5 is max-requests = 5, and comes before any file
        (parse_sys_envs, core/utils.c:1595)."""
        for name, value in self.environ.items():
            if name.startswith("UWSGI_") and not _NOT_OPTIONS.fullmatch(name):
                key = name.removeprefix("UWSGI_").lower().replace("_", "-")
                self._add(key, value, RawLine(None, 0, key, value))

    def _load(self, target: str, line: RawLine | None, option: str = "") -> None:
        """Load a file (uwsgi_opt_load and others, core/uwsgi.c:4658-4757). `option` is ini, include..., or empty for
        the main file. A relative name is relative to the working directory, not to the file that includes it.
        """
        name, _, section = target.rpartition(":") if ":" in target else (target, "", "")
        path = self.locate(name) if self.locate else self.cwd / name
        # `:section` alone means the INI file that was read last (core/ini.c:95-112).
        path = self._last_file if self._last_file and target and not name else path
        if "://" in target or target == "-" or path is None:
            if line is None:
                raise UnreadableError(f"{target}: not a file")
            self._problem("include-not-read", target, line)
            return
        form = _form(option, target, path)
        if line and form == "refused":
            self._problem("include-refused", target, line)
            return
        key = (path, section or "uwsgi")
        if key in self._open:
            raise UnreadableError(f"{shown(path, self.cwd)}: includes itself for ever (section [{key[1]}])")
        self._loads += 1
        if self._loads > MAX_FILES:
            raise UnreadableError(f"{shown(path, self.cwd)}: more than {MAX_FILES} files are included")
        try:
            text = read_text(path)
        except UnreadableError as error:
            # uWSGI exits over a missing include as over a missing main file, but the check goes on.
            if line is None:
                raise
            self._problem("include-missing", str(error), line)
            return
        self._open.append(key)
        if form == "ini":
            self._last_file = path
        if path not in self.reading.files:
            self.reading.files.append(path)
        if target == f":{section}":
            self.magic.reuse(section)
        else:
            self.magic.fill(path, name or target, section)
        self._read_lines(path, text, key[1], form)
        self._open.pop()

    def _read_lines(self, path: Path, text: str, section: str, form: str) -> None:
        if mark := _STATEMENT.search(text) or (_EXPRESSION.search(text) if form != "json" else None):
            place = text.count("\n", 0, mark.start()) + 1
            self._problem("template", " ".join(mark[0].split())[:60], RawLine(path, place, "", mark[0]))
            # The line ends in a text that is removed stay, so that the other lines keep their numbers.
            text = _STATEMENT.sub(lambda m: "\n" * m[0].count("\n"), text)
            text = _EXPRESSION.sub(lambda m: f"{{{{{(m[1] or m[2] or '').strip(' -')}}}}}", text)
        lines, swallowed = expand_magic(text, self.magic)
        sources = text.split("\n")
        for number in swallowed:
            self._problem("percent-newline", "", RawLine(path, number, "", sources[number - 1].strip()))
        for line in _READERS[form](path, lines, section):
            if isinstance(line, Problem):
                self.reading.problems.append(line)
                continue
            line.source = sources[line.number - 1]
            line.inherited = self._inheriting
            line.form = form
            self.reading.lines.append(line)
            self._add(line.key, line.value, line)

    def _add(self, key: str, value: str, line: RawLine) -> None:
        """Add one option to the list (add_exported_option_do, core/config.c:396-546)."""
        if not self._block_running:
            if key in BLOCK_ENDS:
                if self._block is None:
                    self._problem("block-end-alone", key, line)
                self._block = None
            if self._block:
                keyword, argument, _ = self._block
                if (known := self.table.get(key)) and known.kind == "logic":
                    self._problem("block-nested", keyword, line)
                    return
                self._block_running = True
                for item in self._block_items(keyword, argument):
                    self._add(key, value if item is None else value.replace("%(_)", item), line)
                self._block_running = False
                return
        if len(self.reading.options) >= MAX_OPTIONS:
            raise UnreadableError(f"{line.file or 'environment'}: more than {MAX_OPTIONS} options after expansion")
        option = Option(key, value, line.written, line.file, line.number, inherited=self._inheriting)
        line.active = True
        self.reading.options.append(option)
        if (known := self.table.get(key)) and known.immediate:
            option.configured = True
            self._apply_immediate(known, option, line)

    def _apply_immediate(self, known: Known, option: Option, line: RawLine) -> None:
        """Apply an option with the flag UWSGI_OPT_IMMEDIATE, which acts while the file is being read."""
        if known.kind == "logic":
            self._block = (option.name, option.value, line)
        elif known.kind == "load":
            self._load(option.value, line, option.name)
        elif option.name in ("set", "set-placeholder", "set-ph"):
            name, equals, value = option.value.partition("=")
            if not equals:
                self._problem("set-without-value", option.value, line)
            elif option.name == "set":
                self._add(name, value, line)
            else:
                if self.table.get(name):
                    self._problem("placeholder-is-option", name, line)
                self.reading.declared.add(name)
                # A placeholder counts as configured, so it is never expanded itself (placeholder_only).
                self.reading.options.append(Option(name, value, value, line.file, line.number, configured=True))
        elif option.name == "declare-option":
            self.reading.declared.add(option.value.partition("=")[0])
        elif option.name == "early-envdir":
            self._problem("include-not-read", option.value, line)

    def _block_items(self, keyword: str, argument: str) -> list[str | None]:
        """The values of %(_), one for each time that a line of the block is read; None leaves %(_) as it is
        (uwsgi_logic_opt_* functions, core/config.c:42-340)."""
        if keyword == "for":
            return [word for word in argument.split(" ") if word]
        if keyword == "for-glob":
            names = sorted(glob.glob(argument, root_dir=self.cwd))  # noqa: PTH207 - as C's glob
            return [name + "/" * (self.cwd / name).is_dir() for name in names] or [argument]
        if keyword == "for-times":
            return [str(number) for number in range(1, min(leading_number(argument), MAX_OPTIONS) + 1)]
        if keyword == "for-readline":
            return [line.removesuffix("\r") for line in (self._read_file(argument) or "").splitlines()]
        base = keyword.removeprefix("if-").removeprefix("if")
        negated = base.startswith("not-")
        base = base.removeprefix("not-").replace("directory", "dir")
        if base in ("env", "opt"):
            name, equals, wanted = argument.partition("=")
            value = self.environ.get(name) if base == "env" else self._first(name)
            taken = value is not None and (not equals or value == wanted)
            return [value] if taken != negated else []
        tests: dict[str, Callable[[], bool]] = {
            "exists": lambda: bool(argument) and os.access(self.cwd / argument, os.R_OK),
            "file": lambda: bool(argument) and (self.cwd / argument).is_file(),
            "dir": lambda: bool(argument) and (self.cwd / argument).is_dir(),
            "plugin": lambda: argument in self.table.plugins,
            "hostname": lambda: socket.gethostname() == argument,
            "hostname-match": lambda: bool(re.search(argument, socket.gethostname())),
            "reload": lambda: "UWSGI_RELOADS" in self.environ,
        }
        try:
            taken = tests[base]()
        except (OSError, re.error):
            taken = False
        return [None if base == "reload" else argument] if taken != negated else []

    def _first(self, name: str) -> str | None:
        """The value of the first line with this name (uwsgi_get_exported_opt, core/config.c:687), although the last
        line is the one that takes effect."""
        return next((option.value for option in self.reading.options if option.name == name), None)

    def _placeholder(self, expression: str) -> str | None:
        """The value of a placeholder: a name, or names and numbers joined by + - * / ++ -- (uwsgi_manage_placeholder,
        core/config.c:730)."""
        if " " not in expression:
            return self._first(expression)
        current: str | None = None
        operator = ""
        for word in filter(None, expression.split(" ")):
            if word in ("+", "-", "*", "/"):
                operator = word
                continue
            if word not in ("++", "--"):
                value = word if word.isdigit() else (self._first(word) or "")
                current = _calculate(current or "", operator, value)
            elif current is not None:
                current = str(leading_number(current) + (1 if word == "++" else -1))
            operator = ""
        return current

    def _read_file(self, name: str) -> str | None:
        """The text of a file, for @(file) too. @(exec://...) and @(http://...) would run something and are no files."""
        try:
            return read_text(self.cwd / name)
        except UnreadableError:
            return None

    def _expand(self, symbol: str, look_up: Callable[[str], str | None]) -> None:
        """Expand the options that are not applied yet, so never an immediate one (uwsgi_apply_config_pass,
        core/utils.c:3008)."""
        for option in self.reading.options:
            text, turns = option.value, 0
            while not option.configured and (new := _expand_first(text, symbol, look_up, min(turns, 1))) is not None:
                text, turns = new, turns + 1
                if turns == MAX_EXPANSIONS or len(text) > MAX_FILE_BYTES:
                    place = f"{option.file or 'environment'}:{option.line}"
                    raise UnreadableError(f"{place}: {option.name} expands for ever")
            option.value = text

    def _configure(self) -> None:
        """Apply the other options, and start again after each inherited file (uwsgi_configure, core/config.c:589)."""
        position = 0
        while position < len(self.reading.options):
            option = self.reading.options[position]
            position += 1
            if option.configured:
                continue
            option.configured = self.table.get(option.name) is not None
            line = RawLine(option.file or Path(), option.line, option.name, option.value)
            if option.name == "inherit":
                self._inheriting = True
                self._load(option.value, line, option.name)
                self._inheriting = False
                position = 0
            elif option.name == "env":
                name, equals, value = option.value.partition("=")
                if equals:
                    self.environ[name] = value
            elif option.name == "unenv":
                self.environ.pop(option.value, None)


def _form(option: str, target: str, path: Path) -> str:
    """The reader that uWSGI chooses. include and inherit look at the end of the whole text, which may be a section, and
    in a default build they refuse any file whose ending is unknown."""
    named = FORMS.get(f".{option.removesuffix('config')}")
    if named or option == "config":
        return named or "refused"
    form = FORMS.get(Path(target).suffix if option else path.suffix)
    return form or ("refused" if option else "ini")


def _calculate(left: str, operator: str, right: str) -> str:
    if not operator:
        return left + right
    a, b = leading_number(left), leading_number(right)
    if operator == "/":
        return str(int(a / b)) if b else "0"
    return str({"+": a + b, "-": a - b, "*": a * b}[operator])


def _expand_first(text: str, symbol: str, look_up: Callable[[str], str | None], position: int) -> str | None:
    """Replace the first placeholder at or after `position` that has a value; None when there is none.

    This is the scanner of uwsgi_apply_config_pass with its states: 0 is outside, 1 is behind the symbol, 2 is inside.
    A symbol inside starts a new placeholder, so of two nested ones the inner is expanded first. After each replacement
    uWSGI scans again from the second character (`j = 0`, then `j++`), so a placeholder that then starts at the first
    character is not expanded.
    """
    state = depth = start = 0
    for place in range(position, len(text)):
        character = text[place]
        if character == symbol:
            state = 1
        elif character == "(" and state == 1:
            state, depth, start = 2, 0, place + 1
        elif state <= 1:
            state = 0
        elif character == ")" and depth == 0:
            value = look_up(text[start:place]) if place > start else None
            if value is not None:
                return text[: start - 2] + value + text[place + 1 :]
            state = 0
        else:
            depth += {"(": 1, ")": -1}.get(character, 0)
    return None
