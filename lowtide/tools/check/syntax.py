"""Splits INI, YAML, JSON and XML text into keys and values as uWSGI's own readers do (core/ini.c, yaml.c, json.c,
xmlconf.c)."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from lowtide.tools.check.magic import ExpandedText

_BLANK = " \t\r"
_BYTE_ORDER_MARK = "\ufeff"
_SERVER = re.compile(r"^(?:py)?(uwsgi|gunicorn|granian).*")


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
class Command:
    """A command line that starts a server: its words from the server's name on, and its place. `shell` says how a shell
    runs it: "" (no shell), "exec", "single" (the shell's only command) or "several"; "image" if only its environment is
    known, because the command is the image's own."""

    words: tuple[str, ...]
    shell: str
    line: RawLine

    @property
    def server(self) -> str:
        return _SERVER.sub(r"\1", Path(self.words[0]).name)

    def arguments(
        self, find: Callable[[str], tuple[str, str] | None], problem: Callable[[str, str], None]
    ) -> Iterator[tuple[str, str]]:
        """The settings and their values, split as getopt_long and argparse do: a value stands behind `=`, behind a
        short flag or in the next word, and several short flags may be one word. A word that is no flag has the setting
        "". `find` gives the setting of a flag, and whether its value is "required", "optional" or "no"; None if the
        server has no such flag."""
        who = self.server.replace("uwsgi", "uWSGI")
        left = list(self.words[1:])
        while left:
            word = left.pop(0)
            if word == "--":
                yield from (("", rest) for rest in left)
                return
            if word == "-" or not word.startswith("-"):
                yield "", word
                continue
            short = not word.startswith("--")
            # getopt_long takes the `=` behind a short flag for a part of the value; argparse does not.
            rest = word[2:] if who == "uWSGI" else word[2:].removeprefix("=")
            flag, equals, value = (word[:2], rest, rest) if short else word.partition("=")
            if "$(" in word.partition("=")[0]:
                problem("include-not-read", word)
                left = left[1:] if left and left[0][:1] != "-" else left
                continue
            setting, argument = find(flag) or ("", "")
            if argument == "required" and not equals and not left:
                problem("not-parsed", f"{word} wants a value, and {who} exits")
            elif argument == "required" and not equals:
                yield setting, left.pop(0)
            elif argument == "no" and equals and not short:
                problem("not-parsed", f"{flag} takes no value, and {who} exits")
            elif setting:
                left[:0] = [f"-{value}"] if argument == "no" and value else []
                yield setting, "" if argument == "no" else value


@dataclass
class RawFile:
    """Lines, and problems as (kind, line number, detail)."""

    lines: list[RawLine] = field(default_factory=list)
    problems: list[tuple[str, int, str]] = field(default_factory=list)


def read_ini(path: Path, text: ExpandedText, wanted: str) -> RawFile:
    """Read INI as uwsgi_ini_config does (core/ini.c:79-170).

    The name of a section is its header without the first and the last character, whatever they are. A line without `=`
    is a key with an empty value. Only a line whose first character is `;` or `#` is a comment.
    """
    file = RawFile()
    section = ""
    sections: list[tuple[int, str]] = []
    for number, line in text.lines:
        key = line.strip(_BLANK)
        if number == 1 and line.startswith(_BYTE_ORDER_MARK):
            file.problems.append(("byte-order-mark", 1, line.removeprefix(_BYTE_ORDER_MARK)))
        if not key or key[0] in ";#":
            continue
        if key[0] == "[":
            section = key[1:-1]
            sections.append((number, key))
            if not key.endswith("]") or section != section.strip(_BLANK):
                file.problems.append(("section-header", number, key))
            continue
        key, _, value = key.partition("=")
        if section == wanted:
            file.lines.append(RawLine(path, number, key.rstrip(_BLANK), value.strip(_BLANK)))
        elif not sections and not line.startswith(_BYTE_ORDER_MARK):
            file.problems.append(("before-section", number, line.strip(_BLANK)))
    if not file.lines:
        number = sections[0][0] if sections else 1
        file.problems.append(("section-missing", number, wanted))
    return file


def read_yaml(path: Path, text: ExpandedText, wanted: str) -> RawFile:
    """Read YAML as uwsgi_yaml_config does without libyaml (core/yaml.c:215-285), which is what a default build uses.

    It reads less than YAML: only one level of `key: value` below the section. A list, a nested map or a key without a
    value ends the reading, quotes stay in the value, and `#` starts a comment anywhere.
    """
    file = RawFile()
    inside = False
    current_depth = 0
    for number, line in text.lines:
        content = line.partition("#")[0]
        key = content.strip(_BLANK)
        if not content:
            continue
        depth = _depth(content)
        if depth <= current_depth:
            current_depth = depth
            if inside:
                break
        elif not inside:
            continue
        if not key:
            continue
        if key[0] in "-[{":
            if inside:
                file.problems.append(("yaml-stops", number, key))
                break
            continue
        if not inside:
            name, colon, _ = content.lstrip(_BLANK).partition(":")
            inside = bool(colon) and name == wanted
            continue
        name, separator, value = _split_yaml(content.lstrip(_BLANK))
        if not separator:
            file.problems.append(("yaml-stops", number, key))
            break
        file.lines.append(RawLine(path, number, name.rstrip(" \t"), value.lstrip(_BLANK).rstrip(" \t")))
    if not file.lines:
        file.problems.append(("section-missing", 1, wanted))
    return file


def _split_yaml(content: str) -> tuple[str, str, str]:
    for separator in (": ", ":\t"):
        if separator in content:
            return content.partition(separator)
    return content, "", ""


def _depth(content: str) -> int:
    depth = 0
    for character in content:
        if character == " ":
            depth += 1
        elif character in "\t\r":
            depth += 8
        else:
            break
    return depth


def read_json(path: Path, text: ExpandedText, wanted: str) -> RawFile:
    """Read JSON as uwsgi_json_config does (core/json.c): a list repeats its key, the last value of a repeated key
    counts, and maps and numbers with a decimal point are left out."""
    whole = "\n".join(line for _, line in text.lines)
    try:
        section = json.loads(whole)[wanted]
        items = [
            (key, item) for key, value in section.items() for item in (value if isinstance(value, list) else [value])
        ]
    except (ValueError, RecursionError) as error:
        return RawFile(problems=[("not-parsed", getattr(error, "lineno", 1), f"No JSON, and uWSGI exits: {error}")])
    except (KeyError, TypeError, AttributeError):
        return RawFile(problems=[("not-parsed", 1, f"There is no object named {wanted} in the JSON, and uWSGI exits")])
    lines = RawFile()
    position = 0
    for key, value in items:
        position = max(whole.find(json.dumps(key), position), position)
        number = text.lines[whole.count("\n", 0, position)][0]
        if value is None or isinstance(value, int | str):
            shown = str(int(value or 0)) if value is None or isinstance(value, bool) else str(value)
            lines.lines.append(RawLine(path, number, key, shown))
    return lines


def read_xml(path: Path, text: ExpandedText, wanted: str) -> RawFile:
    """Read XML as uwsgi_xml_config does with expat (core/xmlconf.c): the elements below the first <uwsgi>, of whose
    attributes only the id counts. Of a text that comes in pieces the first is used; an empty element has the value
    1."""
    lines = RawFile()
    parser = expat.ParserCreate()
    open_key: list[str] = []
    state = {"inside": False}

    def add(value: str) -> None:
        lines.lines.append(RawLine(path, text.lines[parser.CurrentLineNumber - 1][0], open_key.pop(), value))

    def start(name: str, attributes: dict[str, str]) -> None:
        if state["inside"]:
            open_key[:] = [name]
        elif name == "uwsgi" and (wanted == "uwsgi" or attributes.get("id") == wanted):
            state["inside"] = True

    def end(name: str) -> None:
        if name == "uwsgi":
            state["inside"] = False
        elif state["inside"] and open_key:
            add("1")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda data: add(data) if open_key and state["inside"] else None
    try:
        parser.Parse("\n".join(line for _, line in text.lines), True)
    except expat.ExpatError as error:
        if error.code != expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            return RawFile(problems=[("not-parsed", error.lineno, f"No XML, and uWSGI exits: {error}")])
    if not lines.lines and not lines.problems:
        lines.problems.append(("section-missing", 1, wanted))
    return lines
