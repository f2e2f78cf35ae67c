"""Rules about options that do nothing, because the option that would use them is missing."""

import re

from lowtide.tools.check.rules.base import NOTE, WARNING, Context, Findings, rule, say

# A pattern of names, the options of which one must be set, and what uses them. `master` stands for a master process.
_ROUTER = "http https http2 https2 http-to-https httprouter http-socket-router http-subscription-server"
_PARTNERS = (
    (r"https?-(?!socket)(?!subscription-server$)(?!to-https$).+", _ROUTER, "the HTTP router"),
    (r"cheaper-busyness-.+", "cheaper-algo=busyness", "the busyness algorithm"),
    (r"cheaper-(?!algos?-list$|list$|busyness-).+", "cheaper", "the cheaper subsystem"),
    (r"stats-(?!push|server$).+", "stats stats-server stats-push emperor-stats", "the stats server"),
    (r"harakiri-(verbose|graceful-.+|queue-threshold|no-arh)", "harakiri", "the harakiri timer"),
    (r"spooler-(?!external|(py-?|python-)?import).+", "spooler spooler-external", "the spooler"),
    (r"(mule-harakiri|mule-reload-mercy|mule-msg-.+)", "mule mules farm", "a mule"),
    (r"gevent-.+", "gevent", "gevent"),
    (r"(emperor|vassals)-.+", "emperor", "the emperor"),
    (r"threads-stack-?size", "threads", "the threads of a worker"),
    (r"cron-harakiri", "cron cron2 unique-cron legion-cron", "a cron task"),
    (r"(hook-(master-start|touch)|worker-reload-mercy|reload-mercy|min-worker-lifetime)", "master", "the master"),
    (r"log-(maxsize|backupname)", "logto logto2 daemonize daemonize2 logger log-master", "a log file"),
    (r"static-(gzip|expires|skip|safe|index|cache)-?.*", "static-map static-map2 check-static static-check",
     "the server of static files"),
    (r"(chmod|chown)-socket", "socket uwsgi-socket http-socket fastcgi-socket scgi-socket shared-socket "
     "http11-socket raw-socket https-socket stats zerg-pool", "a socket"),
)  # fmt: skip
# The same for the other servers: the option, what it needs, and what would use it.
_GUNICORN_CLASSES = {"threads": "gthread", "worker-connections": "gthread gevent eventlet uvicorn tornado asgi"}


@rule("option-without-partner", "Options.html", servers="uwsgi gunicorn")
def option_without_partner(c: Context) -> Findings:
    """The option is read and nothing uses it, because the option that would is not there: `http-timeout` belongs to
    the HTTP router of `http`, not to `http-socket`; `cheaper-...` needs `cheaper`; master hooks need a master."""
    if c.reading.server == "gunicorn":
        yield from _gunicorn(c)
        return
    fragment = not c.whole or not c.any("socket", "http-socket", "http", "emperor", "module", "wsgi-file")
    for option in c.reading.options:
        rows = (row for row in _PARTNERS if c.table.get(option.name) and re.fullmatch(row[0], option.name))
        _, partners, user = next(rows, ("", "", ""))
        if not partners or fragment or any(_is_there(c, name) for name in partners.split()):
            continue
        if option.value.lower() in ("0", "false", "no", "off") and option.name.startswith("http"):
            continue
        name = re.sub("^master$", "master = true", partners.split()[0].replace("=", " = "))
        quiet = option.file is None or (user in ("the master", "a log file", "a socket") and "hook" not in option.name)
        message = f"{user[0].upper()}{user[1:]} would use `{option.name}`, and there is none here: it does nothing."
        if partners == _ROUTER and c.any("http-socket", "http11-socket"):
            message += " http-socket is not that router: the workers themselves speak HTTP there."
        instead = f"{name}{'' if '=' in name else ' = ...'}, or no line"
        yield say(c, option, NOTE if quiet else WARNING, message, instead)


def _is_there(c: Context, name: str) -> bool:
    if name == "master":
        return c.has_master()
    name, _, wanted = name.partition("=")
    option = c.option(name)
    return option is not None and (not wanted or option.value == wanted or "$" in option.value)


def _gunicorn(c: Context) -> Findings:
    worker = c.option("worker-class")
    kind = worker.value if worker else "sync"
    kind = "gthread" if kind == "sync" and c.positive("threads") > 1 else kind
    for name, classes in _GUNICORN_CLASSES.items():
        option = c.option(name)
        used = not kind.isidentifier() or any(one in kind for one in classes.split())
        if option and option.value not in ("0", "1") and not used:
            message = f"Workers of the class {kind} do not look at it: it does nothing."
            yield say(c, option, NOTE, message, f"worker_class = {classes.split()[0]}, or no line")
    option = c.option("keepalive")
    if option and kind == "sync":
        message = "A sync worker closes every connection after one request: it does nothing."
        yield say(c, option, NOTE, message, "worker_class = gthread, or no line")


@rule("delta-without-limit", "Options.html#max-requests-delta", servers="uwsgi gunicorn")
def delta_without_limit(c: Context) -> Findings:
    """A delta is added to its limit; without the limit it does nothing."""
    for limit in ("max-requests", "max-worker-lifetime"):
        option = c.option(f"{limit}-delta")
        if option and c.number(f"{limit}-delta") and c.number(limit) == 0:
            message = f"There is no {c.spell(limit)} for the delta to be added to."
            yield say(c, option, WARNING, message, f"{c.spell(limit)} = ...")
