"""Rules about one line: what uWSGI makes of the text behind the `=`."""

import difflib
import re
from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.options import BOOLEANS, NUMBERS, Known
from lowtide.tools.check.reader import BLOCK_ENDS
from lowtide.tools.check.rules.base import Context, is_free_text, rule
from lowtide.tools.check.syntax import RawLine
from lowtide.tools.check.values import effective, has_placeholder, is_false, leading_number

_COMMENT = re.compile(r"(?:^|\s)([;#].*)$")
_SECONDS = frozenset(
    {
        "harakiri",
        "mule-harakiri",
        "spooler-harakiri",
        "reload-mercy",
        "worker-reload-mercy",
        "mule-reload-mercy",
        "min-worker-lifetime",
        "max-worker-lifetime",
        "max-worker-lifetime-delta",
        "forkbomb-delay",
        "idle",
        "socket-timeout",
        "http-timeout",
    }
)
_SECONDS_IN = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_MEGABYTES_IN = {"m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def _with_value(line: RawLine, value: str) -> tuple[str, ...] | None:
    """The line with another value, its layout and a YAML comment kept; None when magic variables made the value."""
    head, separator, tail = line.source.partition(":" if line.yaml else "=")
    if line.value not in tail:
        return None
    return (f"{head}{separator}{tail.replace(line.value, value, 1)}",)


def _indent(line: RawLine) -> str:
    return line.source[: len(line.source) - len(line.source.lstrip())]


@rule("comment-behind-value", "Configuration.html#ini-files")
def comment_behind_value(context: Context) -> Iterator[Finding]:
    """In an INI file only a line that starts with `;` or `#` is a comment. Behind a value it belongs to the value:
    numbers survive because uWSGI reads their first digits, `master = false ; off` is true, a socket gets a file of that
    name."""
    for line in context.written:
        found = _COMMENT.search(line.value)
        if not found or line.key in BLOCK_ENDS or is_free_text(line.key):
            continue
        known = context.table.get(line.key)
        kind = known.kind if known else "string"
        clean = line.value[: found.start()].rstrip()
        now, meant = effective(kind, line.value), effective(kind, clean)
        if kind in NUMBERS and now == meant:
            message = "The comment belongs to the value; uWSGI reads the digits in front of it, so the number survives."
        elif kind in BOOLEANS and now == meant:
            message = (
                f"The comment belongs to the value, which is {now} all the same: every text but false, off, no, 0 is."
            )
        elif kind in NUMBERS | BOOLEANS:
            message = f"The comment belongs to the value, and uWSGI reads {now} where {meant} is meant."
        else:
            message = "The comment belongs to the value: uWSGI uses all of it, as a name, a path or an address."
        yield context.finding(
            line,
            Level.WARNING if now == meant else Level.ERROR,
            message,
            f"{found.group(1)}\n{line.key} = {clean}",
            effective=now,
            fix=None if line.yaml else (f"{_indent(line)}{found.group(1)}", _strip_comment(line)),
        )


def _strip_comment(line: RawLine) -> str:
    found = _COMMENT.search(line.source)
    return line.source[: found.start()].rstrip() if found else line.source


@rule("not-a-number", "Configuration.html")
def not_a_number(context: Context) -> Iterator[Finding]:
    """Numbers have no units. uWSGI reads the digits at the start of the text and drops the rest without a word: `512MB`
    is 512, `1g` is 1, `1h` is 1, and a text without digits is 0."""
    for line, known in context.known_lines():
        if known.kind not in NUMBERS:
            continue
        for value in context.values_of(line):
            if re.fullmatch(r"\+?\d+", value) or _COMMENT.search(value) or _is_quoted(value) or "$" in value:
                continue
            if has_placeholder(value) or (known.argument == "optional" and not value):
                continue
            yield _number_finding(context, line, known, value)


def _number_finding(context: Context, line: RawLine, known: Known, value: str) -> Finding:
    now = effective(known.kind, value)
    found = re.fullmatch(r"(\d+)\s*([a-zA-Z]+)", value)
    units = _MEGABYTES_IN if known.kind == "megabytes" else _SECONDS_IN if line.key in _SECONDS else {}
    factor = units.get(found.group(2).lower()) if found else None
    if re.fullmatch(r"-\d+", value):
        does = "refuses to start" if known.kind == "int" else f"reads {now}"
        return context.finding(
            line, Level.ERROR, f"uWSGI {does}: a negative number is not allowed here.", f"{line.key} = 0", now
        )
    if found and factor == 1:
        return context.finding(
            line,
            Level.WARNING,
            f"uWSGI drops {found.group(2)!r} and reads {now}, which is what is meant, by luck.",
            f"{line.key} = {found.group(1)}",
            now,
            fix=_with_value(line, found.group(1)),
        )
    meant = str(int(found.group(1)) * factor) if found and factor else str(leading_number(re.sub(r"[_,.]", "", value)))
    return context.finding(
        line,
        Level.ERROR,
        f"uWSGI reads {now}: it takes the digits at the start and drops the rest."
        if value
        else f"There is no value, and uWSGI reads {now}.",
        f"{line.key} = {meant}",
        now,
    )


@rule("number-too-large", "Options.html#buffer-size")
def number_too_large(context: Context) -> Iterator[Finding]:
    """Some options keep their number in 16 bits: uWSGI cuts buffer-size at 65535. Others keep it in 31."""
    limits = {"16bit": 65535, "int": 2**31 - 1, "rawint": 2**31 - 1}
    for line, known in context.known_lines():
        limit = limits.get(known.kind)
        for value in context.values_of(line):
            if limit is not None and leading_number(value) > limit:
                yield context.finding(
                    line,
                    Level.ERROR if known.kind != "16bit" else Level.WARNING,
                    f"The option holds numbers up to {limit} only.",
                    f"{line.key} = {limit}",
                    str(limit) if known.kind == "16bit" else "undefined",
                )


@rule("not-a-boolean", "Configuration.html")
def not_a_boolean(context: Context) -> Iterator[Finding]:
    """A switch is off for false, off, no and 0 and on for every other text: `flase` and `disabled` switch it on."""
    for line, known in context.known_lines():
        if known.kind not in BOOLEANS:
            continue
        for value in context.values_of(line):
            word = value.lower()
            plain = word in ("", "true", "on", "yes", "y", "t", "enable", "enabled") or word.isdigit() or is_false(word)
            if plain or _COMMENT.search(value) or _is_quoted(value) or has_placeholder(value) or "$" in value:
                continue
            now = effective(known.kind, value)
            meant_on = difflib.get_close_matches(word, ["true", "yes", "on"], n=1, cutoff=0.7)
            meant_off = difflib.get_close_matches(
                word, ["false", "disable", "disabled", "off", "no", "none", "never", "n", "f"], n=1, cutoff=0.7
            )
            level = Level.ERROR if meant_off else Level.NOTE if meant_on else Level.WARNING
            yield context.finding(
                line,
                level,
                f"uWSGI knows false, off, no and 0; {value!r} is none of them, so `{line.key}` is {now}.",
                f"{line.key} = {'false' if meant_off else 'true'}",
                now,
            )


@rule("quoted-value", "Configuration.html")
def quoted_value(context: Context) -> Iterator[Finding]:
    """uWSGI keeps quotes, in YAML too: `socket = "/run/app.sock"` makes a file whose name has quotes in it, and a
    number in quotes is 0."""
    for line in context.written:
        known = context.table.get(line.key)
        if not _is_quoted(line.value) or known is None or is_free_text(line.key):
            continue
        inner = line.value[1:-1]
        now, meant = effective(known.kind, line.value), effective(known.kind, inner)
        yield context.finding(
            line,
            Level.ERROR if now != meant else Level.NOTE,
            "The quotes belong to the value"
            + (
                f"; uWSGI reads {now}."
                if known.kind in NUMBERS | BOOLEANS
                else ": a name with quotes in it is looked for."
            ),
            f"{line.key}{':' if line.yaml else ' ='} {inner}",
            now,
            fix=_with_value(line, inner) if inner == inner.strip() else None,
        )
