"""Rules about the structure of the file: sections, blocks, includes, variables."""

import re
from functools import partial

from lowtide.tools.check.findings import Level
from lowtide.tools.check.magic import DEFINED
from lowtide.tools.check.options import NUMBERS, is_free_text
from lowtide.tools.check.rules.base import ALL, ENDS, ERROR, NOTE, WARNING, Context, Findings, Rule, rule, say
from lowtide.tools.check.syntax import RawLine

_DATE_OPTIONS = frozenset({"log-date", "logdate", "log-format-strftime"})
_INI, _LOGIC, _PLACEHOLDERS = "Configuration.html#ini-files", "ConfigLogic.html", "Configuration.html#placeholders"


# Problems that the reader notes: code, level, weight, page, explanation, message, what to write instead. {0} is the
# problem's detail, {1} its option, {2} the part of the detail before `=`, {3} a header's name.
_PROBLEMS = (
    ("byte-order-mark", ERROR, ENDS, _INI,
     "A byte order mark before the first character hides the section header on that line: uWSGI compares bytes, and "
     "the line no longer starts with a bracket.",
     "The file starts with a UTF-8 byte order mark. uWSGI does not see a section header on this line, and ignores "
     "every line of the section.", "Save the file as UTF-8 without a byte order mark."),
    ("section-missing", ERROR, ENDS, _INI,
     "uWSGI reads one section, [uwsgi] unless `file.ini:name` asks for another, and starts without a single option "
     "when it is not there: it only logs a warning.",
     "There is no option in a section [{0}]. uWSGI logs a warning and uses nothing of this file.",
     "Start the options with a line [{0}]."),
    ("section-header", ERROR, ENDS, _INI,
     "uWSGI cuts the first and the last character off a section header, whatever they are, and compares the rest: "
     "blanks inside the brackets or a comment behind them make another section.",
     "uWSGI takes {4!r} for the name of this section, so its options are not those of [{3}].", "[{3}]"),
    ("before-section", ERROR, 0, _INI,
     "Options above the first section header belong to no section and are ignored without a word.",
     "`{0}` stands above the first section header. uWSGI ignores it.", "Move it below [uwsgi]."),
    ("block-nested", ERROR, ENDS, _LOGIC,
     "if-... and for blocks cannot be nested. uWSGI refuses to start when the outer one is taken; when it is not, the "
     "inner block's end closes the outer one.",
     "This block starts inside the `{0}` block above. uWSGI refuses to start when that one is taken (recursive logic "
     "in options is not supported); otherwise the first end closes both.",
     "End the block above first, or set a placeholder in it and test that with if-opt."),
    ("block-open", WARNING, 0, _LOGIC,
     "A block without an end goes on to the end of everything that uWSGI reads, other files included.",
     "This `{0}` block has no end: every line below depends on it, in files read later too.", "{5} ="),
    ("block-end-alone", WARNING, 0, _LOGIC,
     "An end without a block does nothing; the block it was meant for has been closed by another end, or has a "
     "misspelt start.",
     "No block is open here; uWSGI ignores the line.", "Remove it, or check the block above."),
    ("include-missing", ERROR, ENDS, "Options.html#include",
     "uWSGI exits when an included file cannot be read. Names are relative to the directory in which uWSGI is started, "
     "not to the file that includes.",
     "{0}. uWSGI exits over it. It looks in the directory it is started in.",
     "%d in front of the name means the folder of this file: include = %dcommon.ini"),
    ("include-refused", ERROR, ENDS, "Options.html#include",
     "include, inherit and config choose the reader by how their text ends; `base.ini:section` ends in no form that "
     "uWSGI knows, so it exits. Only `ini =` takes a section.",
     "uWSGI exits: unable to load configuration from {0}. This option needs a name that ends in .ini, .yml, .xml or "
     ".json, without a section.", "ini = {0}"),
    ("include-not-read", NOTE, 0, "Options.html#include",
     "A configuration that comes from a command, the network, standard input or a folder that is not here is not read "
     "by this check; what it sets is not known.",
     "{0} is not read by this check, so what it sets is not known here.", "Check that configuration by itself."),
    ("yaml-stops", ERROR, ENDS, "Configuration.html#yaml-files",
     "Unless it was built with libyaml, uWSGI has its own reader for YAML: a list, a nested map or a key without a "
     "value ends it silently, and every option below is lost.",
     "uWSGI's own YAML reader stops here without a word; every option below is lost.",
     "Repeat the key, once for each value (`env: A=1`, `env: B=2`), or use INI."),
    ("placeholder-is-option", ERROR, ENDS, _PLACEHOLDERS,
     "set-placeholder takes new names only; uWSGI refuses to start when the name is one of its options.",
     "`{0}` is an option of uWSGI, so it cannot be a placeholder: uWSGI refuses to start.", "set = {2}=..."),
    ("set-without-value", ERROR, ENDS, "Options.html#set",
     "set and set-placeholder want NAME=VALUE; uWSGI refuses to start without the `=`.",
     "There is no NAME=VALUE: uWSGI refuses to start (invalid placeholder/--set value).", "{1} = {0}=VALUE"),
    ("not-parsed", ERROR, ENDS, "Options.html",
     "The server exits over a command line with an option that it does not know or whose value is missing, and over "
     "JSON or XML that it cannot parse.",
     "{0}.", "Correct it; --help lists what the server knows."),
    ("template", NOTE, ENDS, "Configuration.html",
     "A template (Jinja, Helm, ERB, EJS) is not yet a configuration: what stands between its marks is not known here.",
     "{0}: this is the text of a template. What it leaves open is not known here.",
     "Check what comes out of it: helm template, ansible --check --diff."),
)  # fmt: skip


def _problems(code: str, level: Level, texts: tuple[str, str], c: Context) -> Findings:
    """What one row says of the problems of its kind."""
    marked = {problem.line.file for problem in c.reading.problems if problem.kind == "byte-order-mark"}
    for problem in c.reading.problems:
        detail, line = problem.detail, problem.line
        if problem.kind != code or (code == "section-missing" and line.file in marked):
            continue
        header = detail[1:-1] if code == "section-header" else None
        words = (detail, line.key, (line.written or detail).partition("=")[0])
        name = detail[1:].partition("]")[0].strip()
        end = "endfor" if detail.startswith("for") else "endif"
        message, instead = (text.format(*words, name, header, end) for text in texts)
        fixes = ((line.number, (detail,)),) if code == "byte-order-mark" else ()
        yield say(c, line, level, message, instead, header, fixes)


RULES = [
    Rule(code, explanation, partial(_problems, code, level, (message, instead)), "", weight, page, ALL)
    for code, level, weight, page, explanation, message, instead in _PROBLEMS
]


@rule("percent-sign", "Configuration.html#magic-variables")
def percent_sign(c: Context) -> Findings:
    """`%` and the character after it are a magic variable anywhere in the file, comments included. One that uWSGI does
    not know vanishes, a `%` at the end of a line takes the line's end with it, and %d, %p or %s in a date format turn
    into parts of the file's path."""
    for problem in c.reading.problems:
        if problem.kind == "percent-newline":
            message = "The `%` at the end of this line takes the end of the line with it: the next line is glued "
            message += "to this one, and what it sets is lost."
            yield say(c, problem.line, ERROR, message, "Write %% for a percent sign.")
    for line in c.reading.lines:
        dates = line.key in _DATE_OPTIONS
        allowed: frozenset[str] = frozenset("%(") if dates else DEFINED
        dropped = list(dict.fromkeys(pair for pair in re.findall("%.", line.source) if pair[1] not in allowed))
        if dropped:
            message = f"uWSGI replaces {', '.join(dropped)} by its own variables before it reads the line; "
            instead = re.sub("|".join(map(re.escape, dropped)), r"%\g<0>", line.source.strip())
            yield say(c, line, ERROR if dates else WARNING, f"{message}unknown ones vanish.", instead, line.value)


@rule("condition-blanks", _LOGIC)
def condition_blanks(c: Context) -> Findings:
    """if-env = NAME=value and if-opt compare both sides as they are: a blank beside the second `=` belongs to the name
    or to the value, so the block is never taken."""
    for line, _ in c.known_lines():
        name, equals, value = line.value.partition("=")
        condition = line.key in ("if-env", "ifenv", "if-not-env", "if-opt", "if-not-opt")
        if condition and equals and (name != name.rstrip() or value != value.lstrip()):
            message = f"uWSGI looks for {name!r} with the value {value!r}, blanks included, and never finds it."
            yield say(c, line, ERROR, message, f"{line.key} = {name.strip()}={value.strip()}")


@rule("variable-not-expanded", _PLACEHOLDERS)
def variable_not_expanded(c: Context) -> Findings:
    """uWSGI expands $(VARIABLE), %(option) and @(file) after the files are read. Options that are applied while reading
    (listen, include, if-env, plugins and others) and whole files read by `inherit` come too early or too late, and keep
    the text as it stands: listen = $(LISTEN) listens with a queue of 0."""
    for line in c.reading.lines:
        known = c.table.get(line.key)
        immediate = known is not None and known.immediate
        placeholder = line.key in ("set-placeholder", "set-ph")
        pattern = r"[$@]\([^()]+\)" if placeholder else r"[$%@]\((?!_\))[^()]+\)"
        left = re.search(pattern, line.value)
        free = (is_free_text(line.key) and not placeholder) or line.form == "shell"
        if not left or free or not (immediate or line.inherited):
            continue
        reason = "applied while the file is read" if immediate else "in a file read by `inherit`, after the expansion"
        message = f"`{line.key}` is {reason}, so {left.group()} stays as it is written."
        instead = f"Write the value itself{'' if line.inherited else ', or put the line into blocks of if-env'}"
        instead += "." if immediate or not line.inherited else "; or read the file with include instead of inherit."
        yield say(c, line, ERROR, message, instead, "0" if known and known.kind == "int" else line.value)


@rule("variable-unset", _PLACEHOLDERS, servers=ALL)
def variable_unset(c: Context) -> Findings:
    """A $(VARIABLE) that is not in the environment, or a %(name) that no line sets, stays in the value as text: a
    number is then 0, a path has the dollar sign in it. A note where this check was not told uWSGI's environment."""
    for line in c.reading.lines:
        known = c.table.get(line.key)
        if (line.inherited or (known and known.immediate) or not line.active) and line.form != "shell":
            continue
        for value in c.values_of(line):
            free = is_free_text(line.key) or c.reading.server != "uwsgi"
            left = re.search(r"\$\([^()]+\)" if free else r"[$%]\([^()]+\)", value)
            if not left:
                continue
            name, variable = left.group()[2:-1], left.group()[0] == "$"
            what = f"The environment has no {name}" if variable else f"No line sets {name}"
            number = _is_number(c, line)
            message = f"{what}, so uWSGI keeps {left.group()} as text{'; the number is 0' if number else ''}."
            if line.form == "shell":
                message = f"The shell puts {name} here, and this check does not know its value."
            instead = f"set-placeholder = {name}=VALUE"
            if variable:
                instead = f"Set {name} where the server is started; for this check, --env {name}=VALUE or --env-file."
            level = NOTE if (variable and not c.environment_told) or line.form == "shell" else WARNING
            yield say(c, line, level, message, instead, "0" if number and line.form != "shell" else value)


def _is_number(c: Context, line: RawLine) -> bool:
    known = c.table.get(line.key)
    return known is not None and known.kind in NUMBERS - {"rawint"} and not line.value[:1].isdigit()


@rule("shell-variable", _PLACEHOLDERS, servers=ALL)
def shell_variable(c: Context) -> Findings:
    """uWSGI's variables are written $(NAME). ${NAME} and $NAME mean nothing to it and stay as text, unless something
    else, envsubst for instance, rewrites the file before. In a list of words (the exec form of CMD, `command` and
    `args`) no shell puts them in either."""
    for line in c.reading.lines:
        variable = re.search(r"\$\{(\w+)[^}]{0,200}\}|\$([A-Za-z_]\w*)", line.value)
        if not variable or is_free_text(line.key) or line.form == "python":
            continue
        number, command = _is_number(c, line), line.form in ("command", "shell")
        who = "No shell" if command else "uWSGI does not"
        message = f"{who} expand{'s' * command} {variable[0]}: it stays text{'; the number is 0' if number else ''}."
        message += "" if command else " It works only if something else, such as envsubst, rewrites this file first."
        instead = f"{line.key} = {line.value.replace(variable[0], f'$({variable[1] or variable[2]})')}"
        instead = "the shell form with exec in front of the server's name" if command else instead
        yield say(c, line, WARNING, message, instead, "0" if number else line.value)
