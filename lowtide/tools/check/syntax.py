"""Splits INI, YAML, JSON and XML text into keys and values as uWSGI's own readers do (core/ini.c, yaml.c, json.c,
xmlconf.c)."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path
from xml.parsers import expat

from lowtide.tools.check.magic import Lines

_BLANK = " \t\r"
_BYTE_ORDER_MARK = "\ufeff"
SERVER = re.compile(r"(?:.*/)?(?:py)?(uwsgi|gunicorn|granian)(?:_python3?|-core|3)?")


@dataclass
class RawLine:
    """One `key = value` line of a section that is read, or one option of a command line (then `form` is "command", or
    "shell" if a shell fills in variables); without a file it is UWSGI_KEY=value of the environment. `source` is the
    whole line before %x variables are replaced. `active` says whether the line led to an option; a line in a block
    whose condition is false does not."""

    file: Path | None
    number: int
    key: str
    value: str
    source: str = ""
    active: bool = False
    inherited: bool = False
    form: str = "ini"

    @property
    def written(self) -> str:
        """The value as it stands in the file, magic variables included."""
        if not self.source or self.form not in ("ini", "yaml"):
            return self.value
        yaml = self.form == "yaml"
        return (self.source.partition("#")[0] if yaml else self.source).partition(":" if yaml else "=")[2].strip(_BLANK)


@dataclass(frozen=True)
class Problem:
    """Something that went wrong while reading a line. rules/structure.py has a message for each `kind`, and puts
    `detail` into it."""

    kind: str
    detail: str
    line: RawLine


@dataclass(frozen=True)
class Command:
    """A command line that starts a server: its words from the server's name on, and its place. `shell` says how a shell
    runs it: "" (no shell), "exec", "single" (the shell's only command) or "several"; "image" if only its environment is
    known, because the command is the image's own."""

    words: tuple[str, ...]
    shell: str
    line: RawLine

    @property
    def server(self) -> str:
        return SERVER.sub(r"\1", self.words[0])

    def lines(self, find: Callable[[str], tuple[str, str] | str], problems: list[Problem]) -> Iterator[RawLine]:
        """The settings as lines, split as getopt_long and argparse do: a value stands behind `=`, behind a short flag
        or in the next word, and several short flags may be one word. A word that is no flag has the key "". `find`
        gives the setting of a flag, and whether its value is "required", "optional" or "no"; for a flag that the server
        does not have the most similar one, or ""."""
        who = self.server.replace("uwsgi", "uWSGI")
        line = partial(RawLine, self.line.file, self.line.number, form="shell" if self.shell else "command")
        left = list(self.words[1:])

        def problem(kind: str, detail: str) -> None:
            problems.append(Problem(kind, detail, self.line))

        while left:
            word = left.pop(0)
            if word == "--":
                yield from (line("", rest) for rest in left)
                return
            if word == "-" or not word.startswith("-"):
                yield line("", word)
                continue
            short = not word.startswith("--")
            # getopt_long takes the `=` behind a short flag for a part of the value; argparse does not.
            rest = word[2:] if who == "uWSGI" else word[2:].removeprefix("=")
            flag, equals, value = (word[:2], rest, rest) if short else word.partition("=")
            if "$(" in word.partition("=")[0]:
                problem("include-not-read", word)
                left = left[1:] if left and left[0][:1] != "-" else left
                continue
            known = find(flag)
            if isinstance(known, str):
                problem("not-parsed", f"{who} has no option {flag}{f'; {known} is one' if known else ''}, and exits")
                continue
            setting, argument = known
            if argument == "required" and not equals and not left:
                problem("not-parsed", f"{word} wants a value, and {who} exits")
            elif argument == "required" and not equals:
                yield line(setting, left.pop(0))
            elif argument == "no" and equals and not short:
                problem("not-parsed", f"{flag} takes no value, and {who} exits")
            elif setting:
                left[:0] = [f"-{value}"] if argument == "no" and value else []
                yield line(setting, "" if argument == "no" else value)


Read = Iterator[RawLine | Problem]


def _problem(kind: str, path: Path, number: int, text: str) -> Problem:
    return Problem(kind, text, RawLine(path, number, "", text))


def read_ini(path: Path, text: Lines, wanted: str) -> Read:
    """Read INI as uwsgi_ini_config does (core/ini.c:79-170).

    The name of a section is its header without the first and the last character, whatever they are. A line without `=`
    is a key with an empty value. Only a line whose first character is `;` or `#` is a comment.
    """
    section = ""
    first_header, there = 0, False
    for number, line in text:
        key = line.strip(_BLANK)
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            yield _problem("byte-order-mark", path, 1, line.removeprefix(_BYTE_ORDER_MARK))
        if not key or key[0] in ";#":
            continue
        if key[0] == "[":
            section = key[1:-1]
            first_header = first_header or number
            if not key.endswith("]") or section != section.strip(_BLANK):
                yield _problem("section-header", path, number, key)
            continue
        key, _, value = key.partition("=")
        if section == wanted:
            there = True
            yield RawLine(path, number, key.rstrip(_BLANK), value.strip(_BLANK))
        elif not first_header and not line.startswith(_BYTE_ORDER_MARK):
            yield _problem("before-section", path, number, line.strip(_BLANK))
    if not there:
        yield _problem("section-missing", path, first_header or 1, wanted)


def read_yaml(path: Path, text: Lines, wanted: str) -> Read:
    """Read YAML as uwsgi_yaml_config does without libyaml (core/yaml.c:215-285), which is what a default build uses.

    It reads less than YAML: only one level of `key: value` below the section. A list, a nested map or a key without a
    value ends the reading, quotes stay in the value, and `#` starts a comment anywhere.
    """
    inside = there = False
    current_depth = 0
    for number, line in text:
        content = line.partition("#")[0]
        key = content.strip(_BLANK)
        if not content:
            continue
        depth = sum(1 if blank == " " else 8 for blank in takewhile(_BLANK.__contains__, content))
        if depth <= current_depth:
            current_depth = depth
            if inside:
                break
        elif not inside:
            continue
        if not inside:
            inside = key.startswith(f"{wanted}:")
        elif key:
            name, separator, value = content.lstrip(_BLANK).partition(": " if ": " in content else ":\t")
            if key[0] in "-[{" or not separator:
                yield _problem("yaml-stops", path, number, key)
                break
            there = True
            yield RawLine(path, number, name.rstrip(" \t"), value.lstrip(_BLANK).rstrip(" \t"))
    if not there:
        yield _problem("section-missing", path, 1, wanted)


def read_json(path: Path, text: Lines, wanted: str) -> Read:
    """Read JSON as uwsgi_json_config does (core/json.c): a list repeats its key, the last value of a repeated key
    counts, and maps and numbers with a decimal point are left out."""
    whole = "\n".join(line for _, line in text)
    try:
        section = json.loads(whole)[wanted].items()
    except (ValueError, RecursionError) as error:
        yield _problem("not-parsed", path, getattr(error, "lineno", 1), f"No JSON, and uWSGI exits: {error}")
        return
    except (KeyError, TypeError, AttributeError):
        yield _problem("not-parsed", path, 1, f"There is no object named {wanted} in the JSON, and uWSGI exits")
        return
    position = 0
    for key, value in ((key, item) for key, v in section for item in (v if isinstance(v, list) else [v])):
        position = max(whole.find(json.dumps(key), position), position)
        number = text[whole.count("\n", 0, position)][0]
        if value is None or isinstance(value, int | str):
            shown = str(int(value or 0)) if value is None or isinstance(value, bool) else str(value)
            yield RawLine(path, number, key, shown)


def read_xml(path: Path, text: Lines, wanted: str) -> Read:
    """Read XML as uwsgi_xml_config does with expat (core/xmlconf.c): the elements below the first <uwsgi>, of whose
    attributes only the id counts. Of a text that comes in pieces the first is used; an empty element has the value
    1."""
    lines: list[RawLine] = []
    parser = expat.ParserCreate()
    open_key: list[str] = []
    inside = False

    def add(value: str) -> None:
        if inside and open_key:
            lines.append(RawLine(path, text[parser.CurrentLineNumber - 1][0], open_key.pop(), value))

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if inside:
            open_key[:] = [name]
        elif name == "uwsgi" and (wanted == "uwsgi" or attributes.get("id") == wanted):
            inside = True

    def end(name: str) -> None:
        nonlocal inside
        inside = inside and name != "uwsgi"
        add("1")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = add
    try:
        parser.Parse("\n".join(line for _, line in text), True)
    except expat.ExpatError as error:
        if error.code != expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            yield _problem("not-parsed", path, error.lineno, f"No XML, and uWSGI exits: {error}")
            return
    if not lines:
        yield _problem("section-missing", path, 1, wanted)
    yield from lines
