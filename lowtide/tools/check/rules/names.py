"""Rules about the names of options: unknown ones, new ones, and several lines for one thing."""

import re
from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.options import SCALARS, version_key
from lowtide.tools.check.reader import BLOCK_ENDS, Option
from lowtide.tools.check.rules.base import Context, rule

# A file with more unknown names than this is no uWSGI configuration, and the search for near ones takes time.
MAX_UNKNOWN = 100
_NEVER_THERE = {
    "reload-on-pss": "reload-on-pss does not exist in uWSGI 2.0; reload-on-rss does",
    "reload-on-uss": "reload-on-uss does not exist in uWSGI 2.0; reload-on-rss does",
    "else": "uWSGI has no else: the lines below stay in the block above",
    "elif": "uWSGI has no elif: the lines below stay in the block above",
}


def _placeholders(context: Context) -> set[str]:
    """Names that some line reads as %(name) or tests with if-opt: setting those is no mistake."""
    used: set[str] = set()
    for line in context.reading.lines:
        for expression in re.findall(r"%\(([^()]+)\)", line.value):
            used.update(expression.split(" "))
        if line.key in ("if-opt", "if-not-opt"):
            used.add(line.value.partition("=")[0])
    return used


@rule("unknown-option", "Options.html")
def unknown_option(context: Context) -> Iterator[Finding]:
    """uWSGI takes an option that it does not know for a variable of the user's, without a word: what was meant to be
    set is not. With `strict` it refuses to start."""
    used = _placeholders(context)
    seen: set[str] = set()
    for line in context.reading.lines:
        name = line.key
        if context.table.get(name) or name in context.declared or re.search(r"\s[;#]", name):
            continue
        fatal = context.strict and line.active
        if name in used and not fatal:
            continue
        if len(seen) >= MAX_UNKNOWN:
            return
        near = context.table.nearest(name)
        if near is None and name not in _NEVER_THERE and not fatal and name in seen:
            continue
        seen.add(name)
        if name in _NEVER_THERE:
            message = f"{_NEVER_THERE[name]}."
        elif name in used:
            message = f"`{name}` is a variable of this file's own, and with `strict` uWSGI refuses to start over it."
        else:
            message = f"uWSGI has no option `{name}`"
            message += " and, with `strict`, refuses to start." if fatal else ": it ignores the line."
        instead = f"{near} = {line.value}" if near else "Remove the line, or check the name with uwsgi --help."
        if name in used:
            instead = f"set-placeholder = {name}={line.value}"
        if name in _NEVER_THERE and near is None:
            instead = "End the block and start another with the opposite condition, such as if-not-env."
        known_cause = near is not None or name in _NEVER_THERE
        level = Level.ERROR if fatal else Level.WARNING if known_cause else Level.NOTE
        yield context.finding(line, level, message, instead)
    for option in context.reading.options:
        if option.file is None and context.strict and not context.table.get(option.name):
            yield context.finding(
                option,
                Level.ERROR,
                f"UWSGI_{option.name.upper().replace('-', '_')} in the environment is read as the option "
                f"`{option.name}`, which does not exist; with `strict` uWSGI refuses to start. Kubernetes "
                "sets such variables for a service named uwsgi.",
                "Rename the variable or the service (or enableServiceLinks: false).",
            )


@rule("option-too-new", "Options.html")
def option_too_new(context: Context) -> Iterator[Finding]:
    """The option came with a later release than the uWSGI in use, which treats it as unknown."""
    for line, known in context.known_lines():
        if known.since and version_key(known.since) > context.uwsgi:
            version = ".".join(str(part) for part in context.uwsgi)
            yield context.finding(
                line,
                Level.ERROR if context.strict and line.active else Level.WARNING,
                f"`{line.key}` came with uWSGI {known.since}; {version} "
                f"{'refuses to start over it' if context.strict and line.active else 'ignores it'}.",
                f"Use uWSGI {known.since} or newer.",
            )


@rule("repeated-option", "Configuration.html")
def repeated_option(context: Context) -> Iterator[Finding]:
    """Of several lines for one number, switch or text the last one counts, under any of its names. What `inherit` reads
    comes after everything else and so wins over the file that inherits; the environment comes first and loses."""
    done: set[str] = set()
    for option in context.reading.options:
        known = context.table.get(option.name)
        if known is None or known.kind not in SCALARS or (known.target or option.name) in done:
            continue
        done.add(known.target or option.name)
        found = context.settings.all(option.name)
        last = found[-1]
        lost = [other for other in found[:-1] if other.value != last.value and _place(other) != _place(last)]
        if lost:
            yield context.finding(
                last,
                Level.WARNING,
                f"This line counts, and {_name(context, lost[-1])} does not."
                + (" A file read by `inherit` wins over the one that inherits it." if last.inherited else ""),
                "Keep one of them." if not last.inherited else "Read the template first, with include.",
                effective=last.value,
            )


def _place(option: Option) -> tuple[object, int]:
    return option.file, option.line


def _name(context: Context, option: Option) -> str:
    if option.file is None:
        return f"UWSGI_{option.name.upper().replace('-', '_')}={option.value} in the environment"
    return f"`{option.name} = {option.value}` in line {option.line} of {context.shown(option.file)}"


@rule("block-keyword-text", "ConfigLogic.html")
def block_keyword_text(context: Context) -> Iterator[Finding]:
    """A comment behind a line without `=` becomes part of the option's name: `endif ; production` ends no block."""
    for line in context.reading.lines:
        found = re.match(r"(\S+)\s+([;#].*)", line.key)
        if found and (context.table.get(found.group(1)) or found.group(1) in BLOCK_ENDS):
            yield context.finding(
                line,
                Level.ERROR,
                f"uWSGI takes the whole text {line.key!r} for a name and ignores the line.",
                f"{found.group(2)}\n{found.group(1)} =",
                fix=(found.group(2), f"{found.group(1)} ="),
            )
