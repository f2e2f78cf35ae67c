"""Rules about how the file is put together: sections, blocks, includes, variables."""

import re
from collections.abc import Iterator

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.magic import DEFINED
from lowtide.tools.check.rules.base import Context, is_free_text, rule
from lowtide.tools.check.syntax import RawLine

_DATE_OPTIONS = frozenset({"log-date", "logdate", "log-format-strftime"})


@rule("byte-order-mark", "Configuration.html#ini-files")
def byte_order_mark(context: Context) -> Iterator[Finding]:
    """A byte order mark before the first character hides the section header on that line: uWSGI compares bytes, and
    the line no longer starts with a bracket."""
    for problem in context.problems("byte-order-mark"):
        yield context.finding(
            problem,
            Level.ERROR,
            "The file starts with a UTF-8 byte order mark. uWSGI does not see a section header on this line, and "
            "ignores every line of the section.",
            "Save the file as UTF-8 without a byte order mark.",
            fix=(problem.detail,),
        )


@rule("section-missing", "Configuration.html#ini-files")
def section_missing(context: Context) -> Iterator[Finding]:
    """uWSGI reads one section, [uwsgi] unless `file.ini:name` asks for another, and starts without a single option
    when it is not there: it only logs a warning."""
    for problem in context.problems("section-missing"):
        if any(other.file == problem.file for other in context.problems("byte-order-mark")):
            continue
        yield context.finding(
            problem,
            Level.ERROR,
            f"There is no option in a section [{problem.detail}]. uWSGI logs a warning and uses nothing of this file.",
            f"Start the options with a line [{problem.detail}].",
        )


@rule("section-header", "Configuration.html#ini-files")
def section_header(context: Context) -> Iterator[Finding]:
    """uWSGI cuts the first and the last character off a section header, whatever they are, and compares the rest:
    blanks inside the brackets or a comment behind them make another section."""
    for problem in context.problems("section-header"):
        name = problem.detail[1:].partition("]")[0].strip()
        yield context.finding(
            problem,
            Level.ERROR,
            f"uWSGI takes {problem.detail[1:-1]!r} for the name of this section, so its options are not those "
            f"of [{name}].",
            f"[{name}]",
            effective=problem.detail[1:-1],
        )


@rule("before-section", "Configuration.html#ini-files")
def before_section(context: Context) -> Iterator[Finding]:
    """Options above the first section header belong to no section and are ignored without a word."""
    for problem in context.problems("before-section"):
        yield context.finding(
            problem,
            Level.ERROR,
            f"`{problem.detail}` stands above the first section header. uWSGI ignores it.",
            "Move it below [uwsgi].",
        )


@rule("percent-sign", "Configuration.html#magic-variables")
def percent_sign(context: Context) -> Iterator[Finding]:
    """`%` and the character after it are a magic variable anywhere in the file, comments included. One that uWSGI does
    not know vanishes, a `%` at the end of a line takes the line's end with it, and %d, %p or %s in a date format turn
    into parts of the file's path."""
    for problem in context.problems("percent-newline"):
        yield context.finding(
            problem,
            Level.ERROR,
            "The `%` at the end of this line takes the end of the line with it: the next line is glued to this one, "
            "and what it sets is lost.",
            "Write %% for a percent sign.",
        )
    for line in context.reading.lines:
        dropped = [pair for pair in re.findall("%.", line.source) if pair[1] not in DEFINED]
        if line.key in _DATE_OPTIONS:
            dropped = [pair for pair in re.findall("%.", line.source) if pair[1] not in "%("]
        if dropped:
            yield context.finding(
                line,
                Level.ERROR if line.key in _DATE_OPTIONS else Level.WARNING,
                f"uWSGI replaces {', '.join(dict.fromkeys(dropped))} by its own variables before it reads the line; "
                "unknown ones vanish.",
                _doubled(line.source.strip(), dropped),
                effective=line.value,
            )


def _doubled(source: str, pairs: list[str]) -> str:
    """The line with a second `%` before each of these."""
    return re.sub("%.", lambda found: f"%{found[0]}" if found[0] in pairs else found[0], source)


@rule("block-nested", "ConfigLogic.html")
def block_nested(context: Context) -> Iterator[Finding]:
    """if-... and for blocks cannot be nested. uWSGI refuses to start when the outer one is taken; when it is not, the
    inner block's end closes the outer one."""
    for problem in context.problems("block-nested"):
        yield context.finding(
            problem,
            Level.ERROR,
            f"This block starts inside the `{problem.detail}` block above. uWSGI refuses to start when that one is "
            "taken (recursive logic in options is not supported); otherwise the first end closes both.",
            "End the block above first, or set a placeholder in it and test that with if-opt.",
        )


@rule("block-open", "ConfigLogic.html")
def block_open(context: Context) -> Iterator[Finding]:
    """A block without an end goes on to the end of everything that uWSGI reads, other files included."""
    for problem in context.problems("block-open"):
        yield context.finding(
            problem,
            Level.WARNING,
            f"This `{problem.detail}` block has no end: every line below depends on it, in files read later too.",
            "endfor =" if problem.detail.startswith("for") else "endif =",
        )


@rule("block-end-alone", "ConfigLogic.html")
def block_end_alone(context: Context) -> Iterator[Finding]:
    """An end without a block does nothing; the block it was meant for has been closed by another end, or has a
    misspelt start."""
    for problem in context.problems("block-end-alone"):
        yield context.finding(
            problem,
            Level.WARNING,
            "No block is open here; uWSGI ignores the line.",
            "Remove it, or check the block above.",
        )


@rule("condition-blanks", "ConfigLogic.html")
def condition_blanks(context: Context) -> Iterator[Finding]:
    """if-env = NAME=value and if-opt compare both sides as they are: a blank beside the second `=` belongs to the name
    or to the value, so the block is never taken."""
    for line, _ in context.known_lines():
        if line.key not in ("if-env", "ifenv", "if-not-env", "if-opt", "if-not-opt") or "=" not in line.value:
            continue
        name, _, value = line.value.partition("=")
        if name != name.rstrip() or value != value.lstrip():
            yield context.finding(
                line,
                Level.ERROR,
                f"uWSGI looks for {name!r} with the value {value!r}, blanks included, and never finds it.",
                f"{line.key} = {name.strip()}={value.strip()}",
            )


@rule("include-missing", "Options.html#include")
def include_missing(context: Context) -> Iterator[Finding]:
    """uWSGI exits when an included file cannot be read. Names are relative to the directory in which uWSGI is started,
    not to the file that includes."""
    for problem in context.problems("include-missing"):
        yield context.finding(
            problem,
            Level.ERROR,
            f"{problem.detail}. uWSGI exits over it. It looks in the directory it is started in.",
            "%d in front of the name means the folder of this file: include = %dcommon.ini",
        )


@rule("include-refused", "Options.html#include")
def include_refused(context: Context) -> Iterator[Finding]:
    """include, inherit and config choose the reader by how their text ends; `base.ini:section` ends in no form that
    uWSGI knows, so it exits. Only `ini =` takes a section."""
    for problem in context.problems("include-refused"):
        yield context.finding(
            problem,
            Level.ERROR,
            f"uWSGI exits: unable to load configuration from {problem.detail}. This option needs a name that ends in "
            ".ini, .yml or .yaml, without a section.",
            f"ini = {problem.detail}",
        )


@rule("include-not-read", "Options.html#include")
def include_not_read(context: Context) -> Iterator[Finding]:
    """A configuration that comes from a command, the network or standard input is not fetched by this check; what it
    sets is not known here."""
    for problem in context.problems("include-not-read"):
        yield context.finding(
            problem,
            Level.NOTE,
            f"{problem.detail} is not read by this check, so what it sets is not known here.",
            "Check that configuration by itself.",
        )


@rule("yaml-stops", "Configuration.html#yaml-files")
def yaml_stops(context: Context) -> Iterator[Finding]:
    """Unless it was built with libyaml, uWSGI has its own reader for YAML: a list, a nested map or a key without a
    value ends it silently, and every option below is lost."""
    for problem in context.problems("yaml-stops"):
        yield context.finding(
            problem,
            Level.ERROR,
            "uWSGI's own YAML reader stops here without a word; every option below is lost.",
            "Repeat the key, once for each value (`env: A=1`, `env: B=2`), or use INI.",
        )


@rule("placeholder-is-option", "Configuration.html#placeholders")
def placeholder_is_option(context: Context) -> Iterator[Finding]:
    """set-placeholder takes new names only; uWSGI refuses to start when the name is one of its options."""
    for problem in context.problems("placeholder-is-option"):
        yield context.finding(
            problem,
            Level.ERROR,
            f"`{problem.detail}` is an option of uWSGI, so it cannot be a placeholder: uWSGI refuses to start.",
            f"set = {problem.written.partition('=')[0] if problem.written else problem.detail}=...",
        )


@rule("set-without-value", "Options.html#set")
def set_without_value(context: Context) -> Iterator[Finding]:
    """set and set-placeholder want NAME=VALUE; uWSGI refuses to start without the `=`."""
    for problem in context.problems("set-without-value"):
        yield context.finding(
            problem,
            Level.ERROR,
            "There is no NAME=VALUE: uWSGI refuses to start (invalid placeholder/--set value).",
            f"{problem.option} = {problem.detail}=VALUE",
        )


@rule("variable-not-expanded", "Configuration.html#placeholders")
def variable_not_expanded(context: Context) -> Iterator[Finding]:
    """uWSGI expands $(VARIABLE), %(option) and @(file) after the files are read. Options that are applied while reading
    (listen, include, if-env, plugins and others) and whole files read by `inherit` come too early or too late, and keep
    the text as it stands: listen = $(LISTEN) listens with a queue of 0."""
    for line in context.reading.lines:
        known = context.table.get(line.key)
        immediate = known is not None and known.immediate
        placeholder = line.key in ("set-placeholder", "set-ph")
        if is_free_text(line.key) and not placeholder:
            continue
        pattern = r"[$@]\([^()]+\)" if placeholder else r"[$%@]\((?!_\))[^()]+\)"
        left = re.search(pattern, line.value)
        if not left or not (immediate or line.inherited):
            continue
        reason = "applied while the file is read" if immediate else "in a file read by `inherit`, after the expansion"
        yield context.finding(
            line,
            Level.ERROR,
            f"`{line.key}` is {reason}, so {left.group()} stays as it is written.",
            f"Write the value itself{'' if line.inherited else ', or put the line into blocks of if-env'}"
            f"{'; or read the file with include instead of inherit' if line.inherited and not immediate else ''}.",
            effective="0" if known and known.kind == "int" else line.value,
        )


@rule("variable-unset", "Configuration.html#placeholders")
def variable_unset(context: Context) -> Iterator[Finding]:
    """A $(VARIABLE) that is not in the environment, or a %(name) that no line sets, stays in the value as text: a
    number is then 0, a path has the dollar sign in it. A note where this check was not told uWSGI's environment."""
    for line in context.reading.lines:
        known = context.table.get(line.key)
        number = _is_number(context, line)
        if line.inherited or (known and known.immediate) or not line.active:
            continue
        for value in context.values_of(line):
            pattern = r"\$\([^()]+\)" if is_free_text(line.key) else r"[$%]\([^()]+\)"
            left = re.search(pattern, value)
            if not left:
                continue
            name = left.group()[2:-1]
            variable = left.group()[0] == "$"
            what = f"The environment has no {name}" if variable else f"No line sets {name}"
            yield context.finding(
                line,
                Level.NOTE if variable and not context.environment_told else Level.WARNING,
                f"{what}, so uWSGI keeps {left.group()} as text{'; the number is 0' if number else ''}.",
                f"Set {name} where uWSGI is started; for this check, --env {name}=VALUE or --env-file."
                if variable
                else f"set-placeholder = {name}=VALUE",
                effective="0" if number else value,
            )


def _is_number(context: Context, line: RawLine) -> bool:
    known = context.table.get(line.key)
    return known is not None and known.kind in ("int", "64bit", "16bit", "megabytes") and not line.value[:1].isdigit()


@rule("shell-variable", "Configuration.html#placeholders")
def shell_variable(context: Context) -> Iterator[Finding]:
    """uWSGI's variables are written $(NAME). ${NAME} and $NAME mean nothing to it and stay as text, unless something
    else, envsubst for instance, rewrites the file before."""
    for line in context.reading.lines:
        found = re.search(r"\$\{(\w+)[^}]{0,200}\}|\$([A-Za-z_]\w*)", line.value)
        if found and not is_free_text(line.key):
            name = found.group(1) or found.group(2)
            number = _is_number(context, line)
            yield context.finding(
                line,
                Level.WARNING,
                f"uWSGI does not expand {found.group()}: it keeps the text{'; the number is 0' if number else ''}. It "
                "works only if something else, such as envsubst, rewrites this file first.",
                f"{line.key} = {line.value.replace(found.group(), f'$({name})')}",
                effective="0" if number else line.value,
            )
