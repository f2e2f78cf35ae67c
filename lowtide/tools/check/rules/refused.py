"""Rules about values that uWSGI refuses at its start: a table, with the line of uWSGI 2.0.31's source in each row."""

import re
from collections.abc import Callable
from functools import partial

from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import ENDS, ERROR, NOTE, WARNING, Context, Findings, Rule, rule, say

# Code, page, explanation.
_CODES = (
    ("lifetime-order", "Options.html#min-worker-lifetime",
     "uWSGI refuses to start unless min-worker-lifetime, 10 by default, is below max-worker-lifetime "
     "(core/init.c:476)."),
    ("cheaper-not-below-processes", "Cheaper.html",
     "cheaper is the least number of workers to keep; uWSGI refuses to start unless it is below `processes`."),
    ("start-warned", "Options.html",
     "uWSGI looks at some values as it starts, says in its log that it takes another one, and goes on."),
    ("start-refused", "Options.html",
     "uWSGI looks at some values and at some pairs of options as it starts, and exits over them (sanitize_args in "
     "core/init.c, the options' own functions in core/uwsgi.c)."),
)  # fmt: skip
_MEASURES = ("memory-report", "reload-on-rss", "reload-on-as", "evil-reload-on-rss", "evil-reload-on-as")
_LOOPS = {"simple", "async", "gevent"}
# What uWSGI does, by the place in its source, where it does not refuse to start.
_DOES = dict.fromkeys(("core/uwsgi.c:3620", "core/socket.c:1681"), "starts, and each worker exits")
_DOES["core/uwsgi.c:4359"] = "ends as it starts"
_ALGORITHMS = {"spare", "backlog", "manual", "busyness"}
# Options that open a socket, and all that give uWSGI something to do.
_SOCKET = re.compile(r"(?!ch|map-)(.*-)?socket")
_SERVES = re.compile(
    rf"{_SOCKET.pattern}|https?2?|http-(to.*|subscription-server)|emperor.*|.*attach-daemon2?|.*cron2?|spooler|"
    r"(http|fast|raw|ssl)router|legion|zerg.*|udp|gevent|loop|fastcgi|scgi|raw|command-mode|no-server|proxy"
)


def _workers(value: str) -> int:
    return max((int(number) for number in re.findall(r"\d+", value.partition(":")[2])), default=0)


# Code, options, place in the source, when it is refused, what uWSGI objects to, what to write. {0} is the value.
_Refused = Callable[[Context, str], object]
_TABLE: tuple[tuple[str, str, str, _Refused, str, str], ...] = (
    ("cheaper-not-below-processes", "cheaper", "core/init.c:452",
     lambda c, _: 0 < (c.number("processes") or 0) <= c.positive("cheaper"),
     "cheaper is {0} and has to be below processes, {c[processes]}", "processes = {more}"),
    ("lifetime-order", "max-worker-lifetime", "core/init.c:476",
     lambda c, _: 0 < c.positive("max-worker-lifetime") <= (c.number("min-worker-lifetime") or 0),
     "min-worker-lifetime is {c[min-worker-lifetime]}, and has to be below {0}", "min-worker-lifetime = 0"),
    ("start-refused", "cheaper-rss-limit-soft", "core/init.c:482",
     lambda c, _: c.positive("cheaper-rss-limit-soft") > 0 and not c.any(*_MEASURES),
     "the option needs one that measures memory", "memory-report = true"),
    ("start-refused", "cheaper-rss-limit-hard", "core/init.c:486",
     lambda c, _: c.positive("cheaper-rss-limit-hard") > 0 and c.number("cheaper-rss-limit-soft") == 0,
     "cheaper-rss-limit-hard needs cheaper-rss-limit-soft beside it", "cheaper-rss-limit-soft = ..., below {0}"),
    ("start-refused", "cheaper-rss-limit-hard", "core/init.c:490",
     lambda c, _: 0 < c.positive("cheaper-rss-limit-hard") <= c.positive("cheaper-rss-limit-soft"),
     "cheaper-rss-limit-hard has to be above cheaper-rss-limit-soft", "cheaper-rss-limit-soft = ..., below {0}"),
    ("start-warned", "cheaper-initial", "core/init.c:461",
     lambda c, _: 0 < c.positive("cheaper-initial") < c.positive("cheaper"),
     "cheaper-initial is below cheaper, and cheaper counts", "cheaper-initial = {c[cheaper]}"),
    ("start-warned", "cheaper-initial", "core/init.c:466",
     lambda c, _: c.positive("cheaper") > 0 and 0 < (c.number("processes") or 0) < c.positive("cheaper-initial"),
     "cheaper-initial is above processes, and processes counts", "cheaper-initial = {c[processes]}"),
    ("start-warned", "cheaper-algo", "core/cheaper.c",
     lambda c, value: c.positive("cheaper") > 0 and value not in _ALGORITHMS and not c.any("plugin", "plugins"),
     "there is no such algorithm, and it takes spare", "cheaper-algo = spare"),
    ("start-refused", "chmod-socket", "core/uwsgi.c:4609", lambda _, value: not re.fullmatch("([0-7]{3}|1)?", value),
     "the mode is written with exactly three octal digits", "chmod-socket = 660"),
    ("start-refused", "logfile-chmod", "core/uwsgi.c:4631", lambda _, value: not re.fullmatch("[0-7]{3}", value),
     "the mode is written with exactly three octal digits", "logfile-chmod = 640"),
    ("start-refused", "uid", "core/uwsgi.c:4052", lambda _, value: re.search(r"[\s;,=]", value),
     "there is no user of that name", "uid = {first}"),
    ("start-refused", "gid", "core/uwsgi.c:4071", lambda _, value: re.search(r"[\s;,=]", value),
     "there is no group of that name", "gid = {first}"),
    ("start-refused", "static-map", "core/uwsgi.c:4521", lambda _, value: "=" not in value,
     "a static map is MOUNTPOINT=FOLDER", "static-map = /static=/srv/static"),
    ("start-refused", "https-socket", "core/uwsgi.c:4242", lambda _, value: value.count(",") < 2,
     "the syntax is address,certificate,key", "https-socket = :8443,site.crt,site.key"),
    ("start-refused", "http-to", "core/uwsgi.c:2955",
     lambda c, _: c.whole and not c.has_master() and not any(_SOCKET.fullmatch(o.name) for o in c.reading.options),
     "a router that sends elsewhere, without a socket or a master beside it, is nothing to stay for", "master = true"),
    ("start-refused", "map-socket", "core/socket.c:1672", lambda _, value: ":" not in value,
     "the syntax is socket:worker[,worker...]", "map-socket = 0:1"),
    ("start-refused", "map-socket", "core/socket.c:1681",
     lambda c, value: 0 < (c.number("processes") or 0) < _workers(value) and ":" in value,
     "there is no worker of that number", "processes = {needed}"),
    ("start-refused", "cron", "core/cron.c:26", lambda _, value: len(value.split(None, 5)) < 6,
     "a cron line has five numbers and a command", "cron = 0 2 -1 -1 -1 /usr/bin/true"),
    ("start-refused", "version help usage exit cflags dot-h config-py python-version", "core/uwsgi.c:4359",
     lambda *_: True, "the option prints something and exits, as a variable of the environment too",
     "another name for the variable, or no line"),
    ("start-refused", "loop", "core/uwsgi.c:3620",
     lambda c, value: value not in _LOOPS | c.table.plugins and not c.any("plugin", "plugins", "need-plugin"),
     "that loop engine is in no plugin of a default build", "plugins = {0}"),
)  # fmt: skip


def _refused(code: str, c: Context) -> Findings:
    """What the rows of one code find."""
    for row, names, source, refuses, wrong, instead in _TABLE:
        for option in (o for name in names.split() for o in c.all(name)) if row == code else ():
            value = option.value
            if "$" in value or "%(" in value or not refuses(c, value):
                continue
            words = {"c": c, "more": c.positive("cheaper") + 1, "needed": _workers(value)}
            words["first"] = re.split(r"[\s;,=]", value)[0]
            objection, advice = (text.format(value, **words) for text in (wrong, instead))
            warns = code == "start-warned"
            does = _DOES.get(source, "warns as it starts" if warns else "refuses to start")
            message = f"uWSGI {does}: {objection} ({source})."
            yield say(c, option, WARNING if warns else ERROR, message, advice, weight=0 if warns else ENDS)


RULES = [Rule(code, text, partial(_refused, code), page=page) for code, page, text in _CODES]


@rule("no-socket", "Options.html#socket", weight=ENDS)
def no_socket(c: Context) -> Findings:
    """Without a socket, a router, an emperor or another task uWSGI exits at once, unless standard input is a socket
    (core/uwsgi.c:2947). A fragment that is included, or whose socket the command line gives, is none."""
    names = {option.name for option in c.reading.options if c.table.get(option.name)}
    unread = {"template", "include-not-read", "section-missing", "not-parsed"}
    unread &= {problem.kind for problem in c.reading.problems}
    if not names or any(map(_SERVES.fullmatch, names)) or unread or c.any("plugin", "plugins", "need-plugin"):
        return
    message = f"No line opens a socket: uWSGI exits{'' if c.reading.command else ' unless its command line does'}."
    level = ERROR if c.reading.command else NOTE
    yield say(c, None, level, message, "socket = /run/app.sock, or http-socket = :8080")


_BLANKS = {"unix_signal": 1, "alarm": 1, "chmod": 1, "chown": 1, "chown2": 1, "write": 1, "writen": 1, "append": 1}


@rule("hook-fails", "Hooks.html", weight=ENDS)
def hook_fails(c: Context) -> Findings:
    """A hook is an action, a colon and its arguments. uWSGI exits over an action that it does not know, and destroys
    the instance when one fails as it starts (core/hooks.c): a comment behind the name of a function is looked for as
    part of that name."""
    hooks = (o for o in c.reading.options if re.match(r"hook-(?!touch)", o.name) and c.table.get(o.name))
    for option in hooks:
        if "$" not in option.value and (wrong := _wrong_with(c, option)):
            fatal = not re.search(r"atexit|stop|reload|lost", option.name)
            clean = re.sub(r"(unix_signal:\d+ \w+).*|\s+[;#].*$", r"\1", option.value)
            does = "uWSGI ends as it starts" if fatal else "the hook fails"
            level = ERROR if fatal and "; this check knows" not in wrong else WARNING
            yield say(c, option, level, f"{wrong}: {does}.", f"{option.name} = {clean}")


def _wrong_with(c: Context, option: Option) -> str | None:
    action, colon, argument = option.value.partition(":")
    action = action.removeprefix("!")
    if not colon:
        return "A hook's action is action:arguments, and there is no colon"
    if action not in c.table.hooks:
        return f"There is no hook action {action!r}"
    if argument.count(" ") < _BLANKS.get(action, 0):
        return f"The action {action} wants {_BLANKS[action] + 1} arguments"
    if action == "unix_signal":
        function = argument.partition(" ")[2]
        if not function.isidentifier():
            return f"unix_signal looks for a function named {function!r}"
        if function not in c.table.handlers:
            return f"uWSGI's core has no function {function!r}; this check knows no others"
    return None
