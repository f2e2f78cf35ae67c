"""Rules about one line: how uWSGI reads the text behind the `=`."""

import difflib
import re

from lowtide.tools.check.findings import Finding, Fixes
from lowtide.tools.check.options import BOOLEANS, NUMBERS, Known, is_free_text
from lowtide.tools.check.reader import BLOCK_ENDS
from lowtide.tools.check.rules.base import ENDS, ERROR, HARMLESS, NOTE, WARNING, Context, Findings, rule, say
from lowtide.tools.check.syntax import RawLine
from lowtide.tools.check.values import effective, has_placeholder, is_false, leading_number

# A comment behind a value, or a sign that was meant to end the line: `4 ; four`, `4;`, `/run/app.pid  //the master's`.
_TRAILER = re.compile(r"(?:^|\s)([;#].*|(?<=.)//.*)$|(?<=[^\s;,])([;,]+)$")
_SECONDS = re.compile(r"(mule-|spooler-|cron-)?harakiri$|.*-(mercy|lifetime|timeout|delta|delay)$|idle$")
_SECONDS_IN = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_MEGABYTES_IN = {"m": 1, "mb": 1, "mib": 1, "g": 1024, "gb": 1024, "gib": 1024}
_OFF = ["false", "disable", "disabled", "off", "no", "none", "never", "n", "f"]
# What to write if the value has no digit from which to guess.
_USUAL = {"processes": 4, "workers": 4, "post-buffering": 8192, "cheaper": 1, "threads": 2}


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def _is_plain(value: str) -> bool:
    """Whether the value has no comment, quotes or variable, for which there are other rules."""
    return not (_TRAILER.search(value) or _is_quoted(value) or has_placeholder(value) or "$" in value)


def _fix(line: RawLine, value: str) -> Fixes:
    """Replace the value in a line, and keep its layout and YAML comment; empty if %x variables are in the value."""
    head, separator, tail = line.source.partition(":" if line.form == "yaml" else "=")
    if line.form not in ("ini", "yaml") or line.value not in tail:
        return ()
    return ((line.number, (f"{head}{separator}{tail.replace(line.value, value, 1)}",)),)


@rule("comment-behind-value", "Configuration.html#ini-files")
def comment_behind_value(c: Context) -> Findings:
    """In an INI file only a line that starts with `;` or `#` is a comment. Behind a value it belongs to the value:
    numbers survive because uWSGI reads their first digits, `master = false ; off` is true, a socket gets a file of that
    name. The same goes for `//` and for a `;` or `,` that ends the line."""
    harmless: dict[str, list[Finding]] = {}
    for line in c.written:
        trailer = _TRAILER.search(line.value)
        known = c.table.get(line.key)
        own = known or line.key in c.placeholders or line.key in c.reading.declared
        if not trailer or not own or line.key in BLOCK_ENDS or is_free_text(line.key) or line.form == "shell":
            continue
        if trailer.group(2) and (known is None or known.kind == "other"):
            continue
        finding = _about_trailer(c, line, known.kind if known else "string", trailer)
        if finding.level == ERROR:
            yield finding
        else:
            harmless.setdefault(finding.file, []).append(finding)
    for first, *others in harmless.values():
        lines = ", ".join(str(other.line) for other in others)
        message = f"{first.message} Likewise in line{'s' * (len(others) > 1)} {lines}." if others else first.message
        fixes = tuple(fix for finding in (first, *others) for fix in finding.fixes)
        yield Finding(**{**vars(first), "message": message, "fixes": fixes, "weight": HARMLESS})


def _about_trailer(c: Context, line: RawLine, kind: str, trailer: re.Match[str]) -> Finding:
    sign = (trailer.group(1) or trailer.group(2)).rstrip()
    comment = len(sign) > 1 and trailer.group(1)
    clean = line.value[: trailer.start()].rstrip()
    now, meant = effective(kind, line.value), effective(kind, clean)
    what = "comment" if comment else f"`{sign}`"
    if kind in NUMBERS and now == meant:
        message = f"The {what} belongs to the value; uWSGI reads the digits in front of it, so the number survives."
    elif kind in BOOLEANS and now == meant:
        message = f"The {what} belongs to the value, which is {now} all the same: every text but false, off, no, 0 is."
    elif kind in NUMBERS | BOOLEANS:
        message = f"The {what} belongs to the value, and uWSGI reads {now} where {meant} is meant."
    else:
        message = f"The {what} belongs to the value: uWSGI uses all of it, as a name, a path or an address."
    fixes: Fixes = ()
    if line.form == "ini":
        source = _TRAILER.search(line.source)
        indent = line.source[: len(line.source) - len(line.source.lstrip())]
        stripped = line.source[: source.start()].rstrip() if source else line.source
        above = (f"{indent}{sign if sign[0] in ';#' else '# ' + sign.lstrip('/ ')}",) if comment else ()
        fixes = ((line.number, (*above, stripped)),)
    level = WARNING if now == meant else ERROR
    instead = f"{sign}\n{line.key} = {clean}" if comment and sign[0] in ";#" else f"{line.key} = {clean}"
    return say(c, line, level, message, instead, now, fixes)


@rule("env-text", "Options.html#env")
def env_text(c: Context) -> Findings:
    """`env` hands the text on as it stands, split at its first `=`: a blank before it belongs to the variable's name,
    quotes and a comment to its value."""
    for option in c.all("env"):
        name, equals, value = option.value.partition("=")
        trailer = re.search(r"\s[;#]\s.*$", value)
        if not equals or not (name != name.strip() or _is_quoted(value.strip()) or trailer):
            continue
        clean = value[: trailer.start()] if trailer else value
        clean = clean.strip()[1:-1] if _is_quoted(clean.strip()) else clean.strip()
        message = f"The application gets a variable named {name!r} with the value {value!r}, as it stands here."
        yield say(c, option, ERROR, message, f"env = {name.strip()}={clean}")


@rule("not-a-number", "Configuration.html")
def not_a_number(c: Context) -> Findings:
    """Numbers have no units. uWSGI reads the digits at the start of the text and drops the rest without a word: `512MB`
    is 512, `1g` is 1, `1h` is 1, and a text without digits is 0."""
    for line, known in c.known_lines():
        for value in c.values_of(line) if known.kind in NUMBERS else ():
            empty = known.argument == "optional" and not value
            if not re.fullmatch(r"\+?\d+", value) and _is_plain(value) and not empty:
                yield _about_number(c, line, known, value)


def _about_number(c: Context, line: RawLine, known: Known, value: str) -> Finding:
    now = effective(known.kind, value)
    number = re.fullmatch(r"(\d+)\s*([a-zA-Z]+)", value)
    seconds = _SECONDS_IN if _SECONDS.match(line.key) else {}
    factor = (_MEGABYTES_IN if known.kind == "megabytes" else seconds).get(number[2].lower()) if number else None
    if re.fullmatch(r"-\d+", value):
        does = "refuses to start" if known.kind == "int" else f"reads {now}"
        message = f"uWSGI {does}: a negative number is not allowed here."
        return say(c, line, ERROR, message, f"{line.key} = 0", now, weight=ENDS if known.kind == "int" else 0)
    if number and factor == 1:
        message = f"uWSGI drops {number[2]!r} and reads {now}, which is what is meant, by luck."
        return say(c, line, WARNING, message, f"{line.key} = {number[1]}", now, _fix(line, number[1]), HARMLESS)
    meant: object = leading_number(re.sub(r"[_,.]", "", value))
    if number and factor:
        meant = int(number[1]) * factor
    elif not re.match(r"\d", value):
        meant = _USUAL.get(line.key, "a number")
    message = f"uWSGI reads {now}: it takes the digits at the start and drops the rest."
    message = message if value else f"There is no value, and uWSGI reads {now}."
    return say(c, line, ERROR, message, f"{line.key} = {meant}", now)


@rule("number-too-large", "Options.html#buffer-size")
def number_too_large(c: Context) -> Findings:
    """Some options keep their number in 16 bits: uWSGI cuts buffer-size at 65535. Others keep it in 31."""
    limits = {"16bit": 65535, "int": 2**31 - 1, "rawint": 2**31 - 1}
    for line, known in c.known_lines():
        limit = limits.get(known.kind)
        for value in c.values_of(line):
            if limit is not None and leading_number(value) > limit:
                cut = known.kind == "16bit"
                message = f"The option holds numbers up to {limit} only."
                now = str(limit) if cut else "undefined"
                yield say(c, line, WARNING if cut else ERROR, message, f"{line.key} = {limit}", now)


@rule("not-a-boolean", "Configuration.html")
def not_a_boolean(c: Context) -> Findings:
    """A switch is off for false, off, no and 0 and on for every other text: `flase` and `disabled` switch it on."""
    for line, known in c.known_lines():
        for value in c.values_of(line) if known.kind in BOOLEANS else ():
            word = value.lower()
            usual = word in ("", "true", "on", "yes", "y", "t", "enable", "enabled") or word.isdigit()
            if usual or is_false(word) or not _is_plain(value):
                continue
            now = effective(known.kind, value)
            on = difflib.get_close_matches(word, ("true", "yes", "on"), n=1, cutoff=0.7)
            off = difflib.get_close_matches(word, _OFF, n=1, cutoff=0.7)
            message = f"uWSGI knows false, off, no and 0; {value!r} is none of them, so `{line.key}` is {now}."
            instead = f"{line.key} = {'false' if off else 'true'}"
            yield say(c, line, ERROR if off else NOTE if on else WARNING, message, instead, now)


@rule("quoted-value", "Configuration.html")
def quoted_value(c: Context) -> Findings:
    """uWSGI keeps quotes, in YAML too: `socket = "/run/app.sock"` makes a file whose name has quotes in it, and a
    number in quotes is 0."""
    for line in c.written:
        known = c.table.get(line.key)
        if not _is_quoted(line.value) or known is None or is_free_text(line.key):
            continue
        inner = line.value[1:-1]
        now, meant = effective(known.kind, line.value), effective(known.kind, inner)
        shown = line.key.startswith("procname") or known.kind in BOOLEANS
        does = f": a name with quotes in it is {'shown' if shown else 'looked for'}."
        does = f"; uWSGI reads {now}." if known.kind in NUMBERS | BOOLEANS else does
        level = NOTE if now == meant or shown else ERROR
        fixes = _fix(line, inner) if inner == inner.strip() else ()
        sign = ":" if line.form == "yaml" else " ="
        yield say(c, line, level, f"The quotes belong to the value{does}", f"{line.key}{sign} {inner}", now, fixes)
