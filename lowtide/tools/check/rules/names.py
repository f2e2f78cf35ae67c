"""Rules about the names of options: unknown ones, new ones, and several lines for one thing."""

import difflib
import re

from lowtide.tools.check.options import SCALARS, version_key
from lowtide.tools.check.reader import BLOCK_ENDS, Option
from lowtide.tools.check.rules.base import ENDS, ERROR, NOTE, WARNING, Context, Findings, rule, say
from lowtide.tools.check.values import effective

# A file with more unknown names is not a uWSGI configuration, and the search for similar names takes time.
MAX_UNKNOWN = 100
_ONLY_RSS = "does not exist in uWSGI 2.0; reload-on-rss does"
_NEVER_THERE = {name: f"{name} {_ONLY_RSS}" for name in ("reload-on-pss", "reload-on-uss")}
_NEVER_THERE |= {word: f"uWSGI has no {word}: the lines below stay in the block above" for word in ("else", "elif")}


def _plugins(c: Context) -> set[str]:
    """Plugins that the file loads and a default build does not have. They may add options of their own."""
    names = {name for key in ("plugin", "plugins", "need-plugin") for o in c.all(key) for name in o.value.split(",")}
    own = {name.strip().rpartition(":")[2] for name in names} - c.table.plugins
    return {name for name in own if name and not re.fullmatch(r"python[\d.]*|http|corerouter|logfile", name)}


@rule("unknown-option", "Options.html", servers="uwsgi gunicorn")
def unknown_option(c: Context) -> Findings:
    """uWSGI takes an option that it does not know for a variable of the user's, without a word: what was meant to be
    set is not. With `strict` it refuses to start. A plugin that is loaded brings options of its own. gunicorn, too,
    takes an unknown name in its file for a variable."""
    seen: set[str] = set()
    plugins = _plugins(c)
    for line in c.reading.lines:
        name, used = line.key, line.key in c.placeholders
        if c.table.get(name) or name in c.reading.declared or name in c.reading.known or re.search(r"\s[;#]", name):
            continue
        fatal = c.is_on("strict") and line.active and not plugins
        # With libxml2, <app> mounts an application; with expat it is a variable.
        if (used and not fatal) or (line.form == "xml" and name == "app"):
            continue
        if len(seen) >= MAX_UNKNOWN:
            return
        similar = difflib.get_close_matches(name, c.reading.known, n=1, cutoff=0.8)
        near = c.table.nearest(name) if c.reading.server == "uwsgi" else similar[0] if similar else None
        if near is None and name not in _NEVER_THERE and (name in seen or c.reading.server != "uwsgi"):
            continue
        seen.add(name)
        if near in ("py-call-osafterfork", "py-call-os-after-fork") and c.python >= (3, 13):
            near = "py-call-uwsgi-fork-hooks"
        value = re.sub(r"\s+[;#].*", "", line.value)
        instead = f"{near} = {value}" if near else "Remove the line, or check the name with uwsgi --help."
        message = f"uWSGI has no option `{name}`"
        message += " and, with `strict`, refuses to start." if fatal else ": it ignores the line."
        if name in _NEVER_THERE:
            message = f"{_NEVER_THERE[name]}."
            opposite = "End the block and start another with the opposite condition, such as if-not-env."
            instead = instead if near else opposite
        elif used:
            message = f"`{name}` is a variable of this file's own, and with `strict` uWSGI refuses to start over it."
            instead = f"set-placeholder = {name}={line.value}"
        elif c.reading.server != "uwsgi":
            message = f"gunicorn has no setting `{name}`: it takes the line for a variable of yours."
        elif plugins:
            message += f" Unless the plugin {' or '.join(sorted(plugins))} brings it."
        level = WARNING if near or name in _NEVER_THERE else NOTE
        yield say(c, line, ERROR if fatal else level, message, instead, weight=ENDS if fatal else 0)
    for option in c.reading.options:
        if option.file is None and c.is_on("strict") and not c.table.get(option.name) and not plugins:
            variable = f"UWSGI_{option.name.upper().replace('-', '_')}"
            message = f"{variable} in the environment is read as the option `{option.name}`, which does not exist; "
            message += "with `strict` uWSGI refuses to start. Kubernetes sets such variables for a service named "
            instead = "Rename the variable or the service (or enableServiceLinks: false)."
            yield say(c, option, ERROR, f"{message}uwsgi.", instead, weight=ENDS)


@rule("option-too-new", "Options.html")
def option_too_new(c: Context) -> Findings:
    """The option came with a later release than the uWSGI in use, which treats it as unknown."""
    version = ".".join(str(part) for part in c.uwsgi)
    for line, known in c.known_lines():
        if known.since and version_key(known.since) > c.uwsgi:
            fatal = c.is_on("strict") and line.active
            does = "refuses to start over it" if fatal else "ignores it"
            message = f"`{line.key}` came with uWSGI {known.since}; {version} {does}."
            yield say(c, line, ERROR if fatal else WARNING, message, f"Use uWSGI {known.since} or newer.")


@rule("repeated-option", "Configuration.html")
def repeated_option(c: Context) -> Findings:
    """Of several lines for one number, switch or text the last one counts, under any of its names. What `inherit` reads
    comes after everything else and so wins over the file that inherits; the environment comes first and loses."""
    done: set[str] = set()
    for option in c.reading.options:
        known = c.table.get(option.name)
        if known is None or known.kind not in SCALARS or (known.target or option.name) in done:
            continue
        done.add(known.target or option.name)
        *others, last = c.all(option.name)
        now = effective(known.kind, last.value)
        place = (last.file, last.line)
        if lost := [o for o in others if effective(known.kind, o.value) != now and (o.file, o.line) != place]:
            message = f"This line counts, and {_name(c, lost[-1])} does not."
            message += " A file read by `inherit` wins over the one that inherits it." if last.inherited else ""
            instead = "Read the template first, with include." if last.inherited else "Keep one of them."
            yield say(c, last, WARNING, message, instead, last.value)


def _name(c: Context, option: Option) -> str:
    if option.file is None:
        return f"UWSGI_{option.name.upper().replace('-', '_')}={option.value} in the environment"
    return f"`{option.name} = {option.value}` in line {option.line} of {c.shown(option.file)}"


@rule("block-keyword-text", "ConfigLogic.html", weight=ENDS)
def block_keyword_text(c: Context) -> Findings:
    """A comment behind a line without `=` becomes part of the option's name: `endif ; production` ends no block."""
    for line in c.reading.lines:
        text = re.match(r"(\S+)\s+([;#].*)", line.key)
        if text and (c.table.get(text[1]) or text[1] in BLOCK_ENDS):
            message = f"uWSGI takes the whole text {line.key!r} for a name and ignores the line."
            fix = (text[2], f"{text[1]} =")
            yield say(c, line, ERROR, message, "\n".join(fix), fixes=((line.number, fix),))
