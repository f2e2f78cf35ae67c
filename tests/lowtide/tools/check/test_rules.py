"""Each rule finds its fault at the right line, and finds nothing once the line is corrected."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lowtide.tools.check.compare import Comparison
from lowtide.tools.check.container import Container
from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.options import load_options
from lowtide.tools.check.rules import RULES

Findings = Callable[..., list[Finding]]

COMPOSE = Container("service app", memory=1024, stop_grace=10)


@dataclass(frozen=True)
class Case:
    """`bad` draws `level` at `line` (and shows `effective`); `good`, the file put right, draws nothing of the code.

    Texts are lines of [uwsgi], whose first line is number 2, unless they bring their own section.
    """

    code: str
    bad: str
    line: int
    level: Level
    good: str
    effective: str | None = None
    also: dict[str, Any] = field(default_factory=dict)
    good_also: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.bad.encode('unicode_escape').decode()[:60]}"


E, W, N = Level.ERROR, Level.WARNING, Level.NOTE
YAML = {"name": "uwsgi.yml"}
MASTER = "master = true\n"
HOOK = "hook-master-start = unix_signal:15 gracefully_kill_them_all"
NOFILE = Container("x", memory=1024, nofile=65536)
CASES = [
    Case("byte-order-mark", "\ufeff[uwsgi]\nmaster = true", 1, E, "[uwsgi]\nmaster = true"),
    Case("section-missing", "[other]\nmaster = true", 1, E, "[uwsgi]\nmaster = true"),
    Case("section-missing", "[uwsgi]\n", 1, E, "[uwsgi]\nmaster = true"),
    Case("section-missing", "web:\n  master: true", 1, E, "uwsgi:\n  master: true", also=YAML),
    Case("section-header", "[uwsgi] ; production\nmaster = true", 1, E, "[uwsgi]\nmaster = true"),
    Case("section-header", "[uwsgi]\na = b\n[ other ]", 3, E, "[uwsgi]\na = b\n[other]", " other "),
    Case("before-section", "a = b\n[uwsgi]\nmaster = true", 1, E, "; a = b\n[uwsgi]\nmaster = true"),
    Case("percent-sign", "module = 50%\nprocesses = 2", 2, E, "module = 50%%\nprocesses = 2"),
    Case("percent-sign", "# 10%\nprocesses = 2", 2, E, "# 10 percent\nprocesses = 2"),
    Case("percent-sign", "chdir = /srv/%y", 2, W, "chdir = /srv/%n", "/srv/"),
    Case("percent-sign", "log-date = %d", 2, E, "log-date = %%d"),
    Case("block-nested", "if-env = A\nfor = a b\nendfor =\nendif =", 3, E, "if-env = A\nendif =\nfor = a b\nendfor ="),
    Case("block-open", "if-env = A\nprocesses = 2", 2, W, "if-env = A\nprocesses = 2\nendif ="),
    Case("block-end-alone", "endif =", 2, W, "if-env = A\nendif ="),
    Case("condition-blanks", "if-env = A = b\nendif =", 2, E, "if-env = A=b\nendif ="),
    Case("include-missing", "ini = nowhere.ini", 2, E, "ini = :x\n[x]\na = b"),
    Case("include-refused", "include = a.ini:x", 2, E, "ini = :x\n[x]\na = b"),
    Case("include-not-read", "ini = http://127.0.0.1:1/x.ini", 2, N, "ini = :x\n[x]\na = b"),
    Case(
        "yaml-stops",
        "uwsgi:\n  env:\n    - A=1\n  processes: 2",
        2,
        E,
        "uwsgi:\n  env: A=1\n  processes: 2",
        also=YAML,
    ),
    Case("placeholder-is-option", "set-placeholder = processes=2", 2, E, "set = processes=2"),
    Case("set-without-value", "set = root", 2, E, "set = root=/srv"),
    Case("variable-not-expanded", "listen = $(QUEUE)", 2, E, "listen = 1024", "0", also={"environ": {"QUEUE": "9"}}),
    Case("variable-not-expanded", "set-ph = r=$(A)", 2, E, "set = r=$(A)", also={"environ": {"A": "9"}}),
    Case("variable-not-expanded", "ini = $(A).ini", 2, E, "processes = $(A)", also={"environ": {"A": "9"}}),
    Case("variable-unset", "processes = $(WORKERS)", 2, W, "processes = 4", "0"),
    Case(
        "variable-unset",
        "chdir = $(HOME)",
        2,
        W,
        "chdir = $(HOME)",
        also={"environ": {}},
        good_also={"environ": {"HOME": "/srv"}},
    ),
    Case("variable-unset", "chdir = $(A)", 2, N, "chdir = /srv", also={"environment_told": False}),
    Case("variable-unset", "chdir = %(a)", 2, W, "chdir = /srv", also={"environment_told": False}),
    Case("variable-unset", "chdir = %(root)", 2, W, "root = /srv\nchdir = %(root)"),
    Case(
        "workers-only",
        "reload-on-rss = 100\nenable-threads = true",
        3,
        N,
        "reload-on-rss = 100\nenable-threads = true",
        also={"uwsgi": "2.0.27"},
        good_also={"uwsgi": "2.0.28"},
    ),
    Case("post-buffering-kept", "post-buffering = 104857600", 2, W, "post-buffering = 8192"),
    Case(
        "map-socket",
        "processes = 3\nsocket = a\nmap-socket = 0:1,2\nmap-socket = 1:3",
        5,
        E,
        "processes = 3\nsocket = a\nhttp-socket = :80\nmap-socket = 0:1,2\nmap-socket = 1:3",
    ),
    Case(
        "map-socket",
        "processes = 2\nsocket = a\nmap-socket = 0:1",
        4,
        E,
        "processes = 2\nsocket = a\nsocket = b\nmap-socket = 0:1",
    ),
    Case("shell-variable", "processes = ${WORKERS}", 2, W, "processes = $(WORKERS)", "0"),
    Case("shell-variable", "chdir = $HOME/app", 2, W, "chdir = $(HOME)/app"),
    Case("unknown-option", "max_requests = 5", 2, W, "max-requests = 5"),
    Case("unknown-option", "py-callos-afterfork = true", 2, W, "py-call-osafterfork = true"),
    Case("unknown-option", "reload-on-pss = 5", 2, W, "reload-on-rss = 5"),
    Case("unknown-option", "zzzzzz = 5", 2, N, "zzzzzz = 5\nchdir = %(zzzzzz)"),
    Case("unknown-option", "strict = true\nzzzzzz = 5", 3, E, "strict = true\nprocesses = 5"),
    Case("unknown-option", "strict = true\nroot = 5\nchdir = %(root)", 3, E, "strict = true\nset-ph = root=5"),
    Case("unknown-option", "if-env = A\nelse =\nendif =", 3, W, "if-env = A\nendif ="),
    Case(
        "unknown-option",
        "strict = true",
        0,
        E,
        "strict = true",
        also={"environ": {"UWSGI_PORT_80_TCP": "tcp://127.0.0.1:80"}},
        good_also={"environ": {"UWSGI_PROCESSES": "2"}},
    ),
    Case("option-too-new", "max-requests-delta = 5", 2, W, "max-requests = 5", also={"uwsgi": "2.0.28"}),
    Case("option-too-new", "strict = 1\nmax-requests-delta = 5", 3, E, "strict = 1", also={"uwsgi": "2.0.28"}),
    Case("repeated-option", "processes = 2\nworkers = 4", 3, W, "processes = 4\nworkers = 4"),
    Case(
        "repeated-option",
        "processes = 2",
        2,
        W,
        "processes = 2",
        also={"environ": {"UWSGI_WORKERS": "8"}},
        good_also={"environ": {"UWSGI_WORKERS": "2"}},
    ),
    Case("repeated-option", "for = a b\nchdir = %(_)\nendfor =\nchdir = c", 5, W, "pythonpath = a\npythonpath = b"),
    Case("block-keyword-text", "if-env = A\nendif ; x", 3, E, "if-env = A\n; x\nendif"),
    Case("comment-behind-value", "processes = 4 ; four", 2, W, "; four\nprocesses = 4", "4"),
    Case("comment-behind-value", "processes = ; four", 2, W, "; four", "0"),
    Case("comment-behind-value", "master = false # off", 2, E, "# off\nmaster = false", "true"),
    Case("comment-behind-value", "disable-logging = false ; no", 2, E, "disable-logging = false", "true"),
    Case("comment-behind-value", "master = true ; on", 2, W, "master = true", "true"),
    Case("comment-behind-value", "socket = /p ; c", 2, E, "socket = /p;c", "/p ; c"),
    Case("comment-behind-value", "pythonpath = /p # c", 2, E, "exec-asap = a ; b # c"),
    Case("comment-behind-value", "if-env = A=b ; c\nendif =", 2, E, "if-env = A=b\nendif = ; c"),
    Case("not-a-number", "max-worker-lifetime = 1h", 2, E, "max-worker-lifetime = 3600", "1"),
    Case("not-a-number", "reload-on-rss = 512MB", 2, W, "reload-on-rss = 512", "512 MB"),
    Case("not-a-number", "reload-on-rss = 1g", 2, E, "reload-on-rss = 1024", "1 MB"),
    Case("not-a-number", "harakiri = 10x", 2, E, "harakiri = 10", "10"),
    Case("not-a-number", "harakiri = 30s", 2, W, "harakiri = +30", "30"),
    Case("not-a-number", "max-requests = 1,000", 2, E, "max-requests = 1000", "1"),
    Case("not-a-number", "processes = auto", 2, E, "processes = 4", "0"),
    Case("not-a-number", "processes =", 2, E, "processes = 4", "0"),
    Case("not-a-number", "processes = -1", 2, E, "processes = 1", "refused: negative"),
    Case("not-a-number", "max-requests = -1", 2, E, "mule-msg-size =", "18446744073709551615"),
    Case("not-a-number", "processes = $(W)", 2, E, "processes = 4", "2", also={"environ": {"W": "2x"}}),
    Case("number-too-large", "buffer-size = 65536", 2, W, "buffer-size = 65535", "65535"),
    Case("number-too-large", "processes = 99999999999", 2, E, "max-requests = 99999999999"),
    Case("not-a-boolean", "die-on-term = flase", 2, E, "die-on-term = False", "true"),
    Case("not-a-boolean", "master = disabled", 2, E, "master = off", "true"),
    Case("not-a-boolean", "master = ture", 2, N, "master = 1", "true"),
    Case("not-a-boolean", "disable-logging = banana", 2, W, "disable-logging = no", "true"),
    Case("quoted-value", 'socket = "/p"', 2, E, "socket = /p", '"/p"'),
    Case("quoted-value", "processes = '4'", 2, E, "processes = 4", "0"),
    Case("quoted-value", "uwsgi:\n  master: 'true'", 2, N, "uwsgi:\n  master: true", also=YAML),
    Case(
        "memory-over-limit",
        "processes = 4\nreload-on-rss = 512",
        3,
        E,
        "processes = 4\nreload-on-rss = 192",
        also={"container": COMPOSE},
    ),
    Case(
        "memory-over-limit",
        "processes = 4\nreload-on-rss = 230",
        3,
        W,
        "processes = 1\nreload-on-rss = 200",
        also={"container": COMPOSE},
    ),
    Case(
        "memory-over-limit",
        "reload-on-rss = 512",
        2,
        E,
        "reload-on-rss = 512",
        also={"container": COMPOSE, "processes": 4},
        good_also={"container": COMPOSE, "processes": 1},
    ),
    Case(
        "memory-over-limit",
        "processes = 4\nreload-on-rss = 256",
        3,
        E,
        "processes = 0\nreload-on-rss = 2000",
        also={"container": COMPOSE},
    ),
    Case(
        "memory-over-limit",
        "processes = 4\nreload-on-rss = 257",
        3,
        E,
        "processes = $(W)\nreload-on-rss = 2000",
        also={"container": COMPOSE},
    ),
    Case(
        "memory-over-limit",
        "processes = 2147483647\nreload-on-rss = 50",
        3,
        E,
        "processes = 4\nreload-on-rss = 50",
        also={"container": COMPOSE},
    ),
    Case("memory-limit-unknown", "reload-on-rss = 512", 2, N, "reload-on-rss = 0"),
    Case("no-memory-recycling", "processes = 2", 1, N, "reload-on-rss = 99", also={"container": COMPOSE}),
    Case("reload-on-rss-low", "reload-on-rss = 30", 2, W, "reload-on-rss = 120"),
    Case("evil-below-reload", "evil-reload-on-rss = 200", 2, W, "evil-reload-on-rss = 200\nreload-on-rss = 100"),
    Case("reload-on-rss-low", "reload-on-rss = 40", 2, W, "reload-on-rss = 41"),
    Case("reload-on-rss-low", "reload-on-rss = 1", 2, W, "reload-on-rss = 0"),
    Case("evil-below-reload", "evil-reload-on-rss = 100\nreload-on-rss = 100", 2, W, "evil-reload-on-rss = 0"),
    Case("evil-below-reload", "evil-reload-on-rss = 99\nreload-on-rss = 100", 2, W, "reload-on-rss = 100"),
    Case("workers-only", "mule = m.py\nreload-on-rss = 99", 2, N, "mule = m.py"),
    Case("workers-only", "attach-daemon = d\nevil-reload-on-rss = 99", 2, N, "reload-on-rss = 99"),
    Case("evil-over-limit", "evil-reload-on-rss = 1024", 2, E, "evil-reload-on-rss = 900", also={"container": COMPOSE}),
    Case("reload-on-as", "reload-on-as = 512", 2, N, "reload-on-rss = 512"),
    Case("reload-on-as", "evil-reload-on-as = 512", 2, N, "reload-on-as = 0"),
    Case("no-master", "max-requests = 5", 2, E, "master = true\nmax-requests = 5"),
    Case("no-master", "master = false\nharakiri = 5", 3, E, "stats = /p\nharakiri = 5"),
    Case("min-worker-lifetime", "reload-on-rss = 99", 2, N, "reload-on-rss = 99\nmin-worker-lifetime = 0"),
    Case("min-worker-lifetime", "max-requests = 9\nmin-worker-lifetime = 90", 3, W, "min-worker-lifetime = 90"),
    Case("min-worker-lifetime", "max-requests = 9\nmin-worker-lifetime = 61", 3, W, "reload-on-rss = 0"),
    Case("min-worker-lifetime", "max-requests = 9\nmin-worker-lifetime = 60", 3, N, "max-requests = 0"),
    Case("lifetime-order", "max-worker-lifetime = 10", 2, E, "max-worker-lifetime = 11"),
    Case(
        "recycle-together",
        "processes = 2\nmax-requests = 5",
        3,
        W,
        "processes = 2\nmax-requests = 5\nmax-requests-delta = 1",
    ),
    Case(
        "recycle-together", "processes = 2\nmax-worker-lifetime = 50", 3, W, "processes = 1\nmax-worker-lifetime = 50"
    ),
    Case(
        "recycle-together",
        "processes = 2\nmax-requests = 5\nmax-requests-delta = 1",
        3,
        W,
        "processes = 2\nmax-requests = 5\nmax-requests-delta = 1",
        also={"uwsgi": "2.0.28"},
        good_also={"uwsgi": "2.0.29"},
    ),
    Case("delta-without-limit", "max-requests-delta = 5", 2, W, "max-requests = 9\nmax-requests-delta = 5"),
    Case(
        "forkbomb-delay",
        "reload-on-rss = 99\nmin-worker-lifetime = 0",
        2,
        N,
        "reload-on-rss = 99\nmin-worker-lifetime = 0\nforkbomb-delay = 0",
    ),
    Case(
        "lifetime-unbounded",
        "max-worker-lifetime = 50",
        2,
        N,
        "max-worker-lifetime = 50\nmax-requests = 9\nharakiri = 9",
    ),
    Case("lifetime-unbounded", "max-worker-lifetime = 50\nmax-requests = 9", 2, N, "max-worker-lifetime = 0"),
    Case("lifetime-unbounded", "max-worker-lifetime = 50\nharakiri = 9", 2, N, "harakiri = 9"),
    Case("cheaper-not-below-processes", "processes = 2\ncheaper = 2", 3, E, "processes = 3\ncheaper = 2"),
    Case("no-workers", "processes = 0", 2, E, "processes = 1", "0"),
    Case("harakiri-threads", "harakiri = 9\nthreads = 2", 2, W, "harakiri = 9\nthreads = 1"),
    Case(
        "py-call-osafterfork",
        "py-call-osafterfork = true",
        2,
        E,
        "py-call-osafterfork = false",
        also={"python": "3.13"},
    ),
    Case(
        "py-call-osafterfork",
        "py-call-osafterfork = 1",
        2,
        N,
        "py-call-osafterfork = 1\npy-call-uwsgi-fork-hooks = 1",
        also={"python": "3.12"},
    ),
    Case("sigterm-reloads", MASTER, 2, W, MASTER + "die-on-term = 1", also={"container": COMPOSE}),
    Case(
        "sigterm-reloads",
        MASTER,
        2,
        N,
        MASTER,
        good_also={"container": Container("x", stop_grace=10, stop_signal="SIGQUIT")},
    ),
    Case("die-on-term", "die-on-term = true", 2, N, "hook-master-start = unix_signal:15 gracefully_kill_them_all"),
    Case(
        "mercy-over-grace",
        MASTER + "harakiri = 30\nhook-master-start = unix_signal:15 gracefully_kill_them_all",
        3,
        W,
        MASTER + "harakiri = 9\nhook-master-start = unix_signal:15 gracefully_kill_them_all",
        also={"container": COMPOSE},
    ),
    Case(
        "mercy-over-grace",
        MASTER + "hook-master-start = unix_signal:15 grace_them_all",
        3,
        W,
        MASTER + "worker-reload-mercy = 5\nhook-master-start = unix_signal:15 grace_them_all",
        also={"container": COMPOSE},
    ),
    Case("mercy-not-container", "worker-reload-mercy = 60", 2, N, "worker-reload-mercy = 8"),
    Case("listen-default", "socket = /p", 1, N, "socket = /p\nlisten = 1024"),
    Case("listen-over-somaxconn", "listen = 4097", 2, E, "listen = 4096"),
    Case(
        "listen-over-somaxconn", "listen = 200", 2, E, "listen = 100", also={"container": Container("x", somaxconn=128)}
    ),
    Case("no-max-fd", "master = true", 1, N, "max-fd = 4096"),
    Case("changes-uid", "uid = www-data", 2, N, "master = true", also={"container": COMPOSE}),
    Case("daemonize-in-container", "daemonize = /log", 2, E, "logto = /log", also={"container": COMPOSE}),
    Case("http-socket-keepalive", "http-socket = :1", 2, N, "socket = :1"),
    Case(
        "uwsgi-refuses",
        MASTER,
        1,
        E,
        MASTER,
        also={"comparison": Comparison("2.0.31", refusal="no")},
        good_also={"comparison": Comparison("2.0.31")},
    ),
    Case(
        "reading-differs",
        MASTER,
        1,
        W,
        MASTER,
        "a = 2",
        also={"comparison": Comparison("2.0.31", differences=(("a = 1", "a = 2"),))},
        good_also={"comparison": Comparison("2.0.31")},
    ),
    Case("harakiri-threads", "harakiri = 9\nthreads = 3", 2, W, "harakiri = 9"),
    Case("recycle-together", "processes = 3\nmax-requests = 9", 3, W, "max-requests = 9"),
    Case(
        "mercy-over-grace",
        MASTER + "hook-master-start = unix_signal:15 grace",
        3,
        W,
        MASTER + "hook-master-start = unix_signal:15 grace",
        also={"container": Container("x", stop_grace=60)},
        good_also={"container": Container("x", stop_grace=61)},
    ),
    Case("no-master", "harakiri = 1", 2, E, "max-requests = 0\nharakiri = 0"),
    Case("min-worker-lifetime", "reload-on-as = 1", 2, N, "max-worker-lifetime = 99"),
    Case("delta-without-limit", "max-worker-lifetime-delta = 1", 2, W, "max-requests-delta = 0"),
    Case("die-on-term", "die-on-term = 1", 2, N, "die-on-term = 0"),
    Case("die-on-term", "die-on-term = yes", 2, N, "die-on-term = 1\nhook-master-start = unix_signal:15 grace"),
    Case("sigterm-reloads", MASTER, 2, N, MASTER + "emperor = /vassals"),
    Case("sigterm-reloads", MASTER + "emperor = /v", 2, W, "max-fd = 1", also={"container": COMPOSE}),
    Case("sigterm-reloads", MASTER + "hook-master-start = unix_signal:1 x", 2, N, MASTER + "die-on-term ="),
    Case(
        "mercy-over-grace",
        MASTER + "harakiri = 10\nhook-master-start = unix_signal:15 gracefully_kill_them_all",
        3,
        W,
        "harakiri = 10\nhook-asap = unix_signal:15 gracefully_kill_them_all",
        also={"container": COMPOSE},
    ),
    Case(
        "mercy-over-grace",
        MASTER + "worker-reload-mercy = 10",
        3,
        W,
        MASTER + "worker-reload-mercy = 10\ndie-on-term = 1",
        also={"container": COMPOSE},
    ),
    Case("mercy-not-container", "worker-reload-mercy = 11", 2, N, "worker-reload-mercy = 10"),
    Case(
        "mercy-not-container",
        "worker-reload-mercy = 99",
        2,
        N,
        "worker-reload-mercy = 99",
        good_also={"container": COMPOSE},
    ),
    Case(
        "option-too-new",
        "max-requests-delta = 5",
        2,
        W,
        "max-requests-delta = 5",
        also={"uwsgi": "2.0.28"},
        good_also={"uwsgi": "2.0.29"},
    ),
    Case("unknown-option", "colour = red", 2, N, "colour = red\nif-opt = colour=red\nendif ="),
    Case("unknown-option", "colour = red\ncolour = blue", 2, N, "colour = red\nif-not-opt = colour\nendif ="),
    Case("condition-blanks", "if-env = A =b\nendif =", 2, E, "if-env = A b\nendif ="),
    Case("condition-blanks", "if-opt = A= b\nendif =", 2, E, "env = A = b"),
    Case("block-keyword-text", "master ; x", 2, E, "zzz ; x"),
    Case("number-too-large", "processes = 2147483648", 2, E, "processes = 2147483647"),
    Case("variable-not-expanded", "plugins = $(A)", 2, E, "print = $(A)", also={"environ": {"A": "9"}}),
    Case("variable-unset", "chdir = $(A)", 2, W, "listen = $(A)"),
    Case("variable-unset", "env = X=$(A)", 2, W, "log-format = %(method)"),
    Case("not-a-number", "processes = 1.5", 2, E, "processes = $(N)"),
    Case("not-a-boolean", "master = none", 2, E, "master = enabled", "true"),
    Case("env-text", "env = A = b", 2, E, "env = A=b"),
    Case("env-text", 'env = A="b"', 2, E, "env = A=b"),
    Case("env-text", "env = A=b ; c", 2, E, "env = A=b;c"),
    Case("start-refused", "cheaper-rss-limit-soft = 9", 2, E, "cheaper-rss-limit-soft = 9\nmemory-report = true"),
    Case("start-refused", "cheaper-rss-limit-soft = 9", 2, E, "cheaper-rss-limit-soft = 9\nreload-on-rss = 99"),
    Case("start-refused", "cheaper-rss-limit-hard = 9", 2, E, "cheaper-rss-limit-hard = 0"),
    Case(
        "start-refused",
        "memory-report = 1\ncheaper-rss-limit-soft = 9\ncheaper-rss-limit-hard = 9",
        4,
        E,
        "memory-report = 1\ncheaper-rss-limit-soft = 9\ncheaper-rss-limit-hard = 10",
    ),
    Case("start-refused", "chmod-socket = 0660", 2, E, "chmod-socket = 660"),
    Case("start-refused", "chmod-socket = 888", 2, E, "chmod-socket"),
    Case("start-refused", "uid = app  gid = app", 2, E, "uid = app"),
    Case("start-refused", "http = :1\nhttp-to = /s", 3, E, "http = :1\nhttp-to = /s\nmaster = 1"),
    Case("start-refused", "http = :1\nhttp-to = /s", 3, E, "http = :1\nhttp-to = /s\nsocket = /s"),
    Case("start-refused", "loop = asyncio", 2, E, "loop = asyncio\nplugins = asyncio"),
    Case("start-refused", "map-socket = 0:3\nprocesses = 2", 2, E, "map-socket = 0:2\nprocesses = 2"),
    Case("start-refused", "cron = 0 1 true", 2, E, "cron = 0 1 -1 -1 -1 true"),
    Case("start-warned", "processes = 4\ncheaper = 2\ncheaper-initial = 1", 4, W, "processes = 4\ncheaper = 2"),
    Case("start-warned", "processes = 4\ncheaper = 2\ncheaper-initial = 5", 4, W, "cheaper-initial = 5"),
    Case("start-warned", "processes = 4\ncheaper = 2\ncheaper-algo = x", 4, W, "cheaper-algo = spare"),
    Case("hook-fails", "hook-master-start = unix_signal:15 reap_them_all ; x", 2, E, "hook-asap = print:a ; b"),
    Case("hook-fails", "hook-asap = sleep:3", 2, E, "hook-asap = exec:sleep 3"),
    Case("hook-fails", "hook-as-user = print", 2, E, "hook-as-user = print:a"),
    Case("hook-fails", "hook-post-app = unix_signal:15", 2, E, "hook-post-app = unix_signal:15 reap_them_all"),
    Case("hook-fails", "hook-as-user-atexit = unlink", 2, W, "hook-as-user-atexit = unlink:/p"),
    Case("hook-fails", "hook-master-start = unix_signal:15 my_own", 2, W, "hook-master-start = callint:f 1"),
    Case("no-socket", "processes = 2", 1, N, "socket = /p"),
    Case("no-socket", "chmod-socket = 660", 1, N, "gevent = 10"),
    Case("option-without-partner", "http-socket = :1\nhttp-timeout = 9", 3, W, "http = :1\nhttp-timeout = 9"),
    Case("option-without-partner", "socket = a\ncheaper-step = 2", 3, W, "socket = a\ncheaper = 1\ncheaper-step = 2"),
    Case("option-without-partner", "socket = a\nstats-http = 1", 3, W, "socket = a\nstats = b\nstats-http = 1"),
    Case("option-without-partner", "socket = a\nworker-reload-mercy = 9", 3, N, "cheaper-step = 2"),
    Case(
        "option-without-partner",
        "socket = a\nhook-master-start = print:a",
        3,
        W,
        "socket = a\nmaster = 1\nhook-master-start = print:a",
    ),
    Case("host-processors", "processes = %k", 2, N, "processes = 2"),
    Case("host-processors", "processes = %k", 2, W, "max-requests = %k", also={"container": COMPOSE}),
    Case("harakiri-over-http-timeout", "http = :1\nharakiri = 61", 3, W, "http = :1\nharakiri = 60"),
    Case("harakiri-over-http-timeout", "http = :1\nharakiri = 61", 3, W, "http-socket = :1\nharakiri = 61"),
    Case("hook-not-graceful", f"{HOOK}\ngevent = 10", 2, N, HOOK),
    Case("hook-not-graceful", f"{HOOK}\nhttp = :1", 2, W, f"{HOOK}\nhttp = :1", also={"uwsgi": "2.0.27"}, good_also={}),
    Case(
        "hook-not-graceful",
        f"{HOOK}\nthreads = 2",
        2,
        W,
        f"{HOOK}\nthreads = 2",
        also={"uwsgi": "2.0.26"},
        good_also={},
    ),
    Case("template", "processes = {{ workers }}", 2, N, "processes = 2"),
    Case("template", "processes = <%= workers %>", 2, N, "processes = 2"),
    Case("no-master", "processes = 2\nsocket = a", 2, W, "processes = 1\nsocket = a"),
    Case("post-buffering-kept", "post-buffering = 1", 2, W, "post-buffering = 4096"),
    Case("post-buffering-kept", "gevent = 9\npost-buffering = 99999999", 3, W, "post-buffering = 8192"),
    Case("no-max-fd", "http = :1", 1, W, "http = :1\nmax-fd = 99", also={"container": COMPOSE}),
    Case("no-max-fd", "http = :1", 1, W, "http = :1", also={"container": COMPOSE}, good_also={"container": NOFILE}),
    Case("comment-behind-value", "processes = 4;", 2, W, "processes = 4", "4"),
    Case("comment-behind-value", "pidfile = /p  //x", 2, E, "pidfile = //x", "/p  //x"),
    Case("comment-behind-value", "gevent = 400 # x", 2, W, "gevent = 400", "400"),
    Case(
        "recycle-together",
        "processes = 9\nmax-requests = 5\ncheaper = 2",
        3,
        N,
        "processes = 9\nmax-requests = 5\ncheaper = 1",
    ),
    Case(
        "lifetime-unbounded",
        "threads = 2\nmax-worker-lifetime = 50\nmax-requests = 9\nharakiri = 9",
        3,
        N,
        "threads = 2",
    ),
    Case("no-memory-recycling", "limit-as = 99", 1, N, "reload-on-as = 99", also={"container": COMPOSE}),
    Case("listen-default", "http = :1", 1, N, "http = :1\nlisten = 99"),
    Case("repeated-option", "master = 1\nmaster = no", 3, W, "master = true\nmaster = True\nmaster = 1"),
]


def _full(text: str) -> str:
    return (
        text
        if text.lstrip("\ufeff").startswith(("[", "uwsgi:", "web:", "a = b\n[", "; a = b\n["))
        else f"[uwsgi]\n{text}"
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_finds(case: Case, findings_in: Findings) -> None:
    found = [finding for finding in findings_in(_full(case.bad), **case.also) if finding.code == case.code]
    assert [(finding.line, finding.level) for finding in found] == [(case.line, case.level)]
    if case.effective is not None:
        assert found[0].effective == case.effective


@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_silent_when_put_right(case: Case, findings_in: Findings) -> None:
    also = case.also if case.good_also is None else case.good_also
    assert case.code not in [finding.code for finding in findings_in(_full(case.good), **also)]


def test_every_rule_has_a_case() -> None:
    commands = re.findall(r'Case\("([a-z-]+)"', (Path(__file__).parent / "test_commands.py").read_text())
    # This rule needs a ledger: tests/lowtide/tools/test_routes.py.
    with_ledger = {"large-list-differs"}
    assert {rule.code for rule in RULES} == {case.code for case in CASES} | set(commands) | with_ledger


def test_inherited_values_win_and_stay_unexpanded(tmp_path: Path, findings_in: Findings) -> None:
    (tmp_path / "base.ini").write_text("[uwsgi]\nprocesses = 8\nchdir = $(ROOT)\n")
    found = findings_in("[uwsgi]\ninherit = base.ini\nprocesses = 2\n", environ={"ROOT": "/srv"})
    places = {(finding.code, finding.file, finding.line, finding.effective) for finding in found}
    assert ("repeated-option", "base.ini", 2, "8") in places
    assert ("variable-not-expanded", "base.ini", 3, "$(ROOT)") in places


def test_written_is_what_stands_in_the_file(tmp_path: Path, findings_in: Findings) -> None:
    text = "[uwsgi]\nlog-date = %n %%d\nprocesses =  $(W)%% ; x\nmodule = '%n'\n"
    found = {finding.code: finding for finding in findings_in(text, environ={"W": "4"})}
    assert (found["percent-sign"].written, found["percent-sign"].effective) == ("%n %%d", "uwsgi %d")
    assert found["comment-behind-value"].written == "$(W)%% ; x"
    assert (found["quoted-value"].written, found["quoted-value"].effective) == ("'%n'", "'uwsgi'")
    found = {finding.code: finding for finding in findings_in("uwsgi:\n  harakiri: 9s # s\n", name="uwsgi.yml")}
    assert found["not-a-number"].written == "9s"


def test_a_file_read_twice_is_reported_once(tmp_path: Path, findings_in: Findings) -> None:
    (tmp_path / "part.ini").write_text("[uwsgi]\nmaster = true ; on\n")
    found = findings_in("[uwsgi]\ninclude = part.ini\nini = part.ini\n")
    assert len([finding for finding in found if finding.code == "comment-behind-value"]) == 1


def test_lines_of_blocks_not_taken_are_checked_as_lines_only(findings_in: Findings) -> None:
    text = "[uwsgi]\nif-env = NEVER\nprocesses = 4 ; four\nmax-requests = 5\nendif =\n"
    codes = {finding.code for finding in findings_in(text)}
    assert "comment-behind-value" in codes
    assert "no-master" not in codes


SAYS = {
    "all-of-it": ("processes = 4\nreload-on-rss = 256", "memory-over-limit", "are 1024 MB, all of the container's"),
    "percent": ("chdir = /srv/%n-%y", "percent-sign", "chdir = /srv/%n-%%y"),
    "lazy-apps": (
        "lazy-apps = 1\nprocesses = 2\nmax-requests = 9",
        "recycle-together",
        "importing the application anew",
    ),
    "lazy": ("lazy = 1\nprocesses = 2\nmax-requests = 9", "recycle-together", "importing the application anew"),
    "too-old": ("processes = 2\nmax-requests = 50", "recycle-together", "max-requests-delta = 5"),
    "threads": ("threads = 2\nmax-worker-lifetime = 50", "lifetime-unbounded", "waits for one more request"),
    "default": ("max-requests = 9", "min-worker-lifetime", "until a worker is 10 seconds old, the default"),
    "fits": ("processes = 4\nreload-on-rss = 512", "memory-over-limit", "reload-on-rss = 228 "),
    "comment": ("processes = 4 ; x", "comment-behind-value", "; x\nprocesses = 4"),
    "hour": ("max-worker-lifetime = 1h", "not-a-number", "max-worker-lifetime = 3600"),
    "minutes": ("harakiri = 5m", "not-a-number", "harakiri = 300"),
    "gigabyte": ("reload-on-rss = 2g", "not-a-number", "reload-on-rss = 2048"),
    "thousand": ("max-requests = 1_000", "not-a-number", "max-requests = 1000"),
    "number-survives": ("processes = 4 ; x", "comment-behind-value", "so the number survives"),
    "switch-survives": ("master = true ; x", "comment-behind-value", "which is true all the same"),
    "switch-flips": ("master = false ; x", "comment-behind-value", "uWSGI reads true where false is meant"),
    "number-lost": ("processes = ; 4", "no-workers", "processes = 4"),
    "text": ("module = a ; x", "comment-behind-value", "as a name, a path or an address"),
    "negative": ("max-requests = -1", "not-a-number", "uWSGI reads 18446744073709551615"),
    "refused": ("processes = -1", "not-a-number", "uWSGI refuses to start"),
    "nothing": ("processes =", "not-a-number", "There is no value"),
    "luck": ("harakiri = 30s", "not-a-number", "by luck"),
    "quoted-number": ("processes = '3'", "quoted-value", "uWSGI reads 0"),
    "quoted-text": ("module = 'a'", "quoted-value", "a name with quotes"),
    "variable": ("processes = $(WORKERS)", "variable-unset", "The environment has no WORKERS, so"),
    "variable-text": ("chdir = $(ROOT)", "variable-unset", "keeps $(ROOT) as text."),
    "placeholder": ("chdir = %(root)", "variable-unset", "No line sets root"),
    "placeholder-instead": ("chdir = %(root)", "variable-unset", "\nset-placeholder = root=VALUE"),
    "shell": ("processes = ${WORKERS}", "shell-variable", "processes = $(WORKERS)"),
    "no-slip": ("log-buffering = 9", "unknown-option", "Remove the line"),
    "shell-without-braces": ("chdir = $ROOT/app", "shell-variable", "chdir = $(ROOT)/app"),
    "strict-placeholder": ("strict = 1\nroot = a\nchdir = %(root)", "unknown-option", "set-placeholder = root=a"),
    "else": ("if-env = A\nelse =\nendif =", "unknown-option", "uWSGI has no else"),
    "else-instead": ("if-env = A\nelse =\nendif =", "unknown-option", "\nEnd the block and start another"),
    "never-instead": ("reload-on-pss = 5", "unknown-option", "\nreload-on-rss = 5"),
    "header-instead": ("[uwsgi] ; x", "section-header", "\n[uwsgi]"),
    "never": ("reload-on-pss = 5", "unknown-option", "does not exist in uWSGI 2.0"),
    "near": ("max_requests = 5", "unknown-option", "max-requests = 5"),
    "ignored": ("max_requests = 5", "unknown-option", "ignores the line"),
    "fatal": ("strict = 1\nmax_requests = 5", "unknown-option", "refuses to start"),
    "which-counts": (
        "processes = 2\nworkers = 4",
        "repeated-option",
        "`processes = 2` in line 2 of uwsgi.ini does not",
    ),
    "header": ("[uwsgi] ; x", "section-header", "'uwsgi] ; '"),
    "placeholder-name": ("set-ph = processes=2", "placeholder-is-option", "set = processes=..."),
    "cheaper": ("processes = 2\ncheaper = 4", "cheaper-not-below-processes", "processes = 5"),
    "old-python": ("py-call-osafterfork = 1", "py-call-osafterfork", "(this is 3.12)"),
    "spooler": ("reload-on-rss = 99\nspooler = /s", "workers-only", "spooler-max-tasks = 100"),
    "evil": ("evil-reload-on-rss = 400", "evil-below-reload", "reload-on-rss = 200"),
    "kubernetes-grace": (
        "harakiri = 30\nmaster = 1\nhook-master-start = unix_signal:15 gracefully_kill_them_all",
        "mercy-over-grace",
        "harakiri = 5, or a stop grace of 35 seconds",
    ),
}


@pytest.mark.parametrize(
    ("variable", "value", "code", "effective"),
    [
        ("UWSGI_PROCESSES", "4 ; four", "comment-behind-value", "4"),
        ("UWSGI_DIE_ON_TERM", "flase", "not-a-boolean", "true"),
        ("UWSGI_RELOAD_ON_RSS", "512MB", "not-a-number", "512 MB"),
        ("UWSGI_SOCKET", '"/run/a.sock"', "quoted-value", None),
    ],
)
def test_values_of_the_environment_are_read_alike(
    variable: str, value: str, code: str, effective: str | None, findings_in: Findings
) -> None:
    (found,) = (each for each in findings_in("master = true", environ={variable: value}) if each.code == code)
    assert (found.file, found.line, found.written) == ("environment", 0, value)
    assert effective in (None, found.effective)
    # Kubernetes sets these variables for a service named uwsgi. They are no options, so there is nothing to find.
    assert code not in {
        each.code for each in findings_in("master = true", environ={"UWSGI_PORT": "tcp://10.0.0.1 ; x"})
    }


@pytest.mark.parametrize("name", SAYS)
def test_says(name: str, findings_in: Findings) -> None:
    text, code, words = SAYS[name]
    found = [finding for finding in findings_in(f"[uwsgi]\n{text}\n", container=COMPOSE) if finding.code == code]
    assert len(found) == 1
    assert words in f"{found[0].message}\n{found[0].instead}"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("harakiri = 3 s", "harakiri = 3"),
        ("harakiri = 3sec", "harakiri = 3"),
        ("harakiri = 3min", "harakiri = 180"),
        ("harakiri = 3m", "harakiri = 180"),
        ("max-worker-lifetime = 2H", "max-worker-lifetime = 7200"),
        ("max-worker-lifetime = 2d", "max-worker-lifetime = 172800"),
        ("reload-on-rss = 99m", "reload-on-rss = 99"),
        ("reload-on-rss = 99mb", "reload-on-rss = 99"),
        ("reload-on-rss = 99MiB", "reload-on-rss = 99"),
        ("reload-on-rss = 2gb", "reload-on-rss = 2048"),
        ("reload-on-rss = 2GiB", "reload-on-rss = 2048"),
        ("processes = 4x", "processes = 4"),
        ("limit-post = 10m", "limit-post = 10"),
    ],
)
def test_units(text: str, instead: str, findings_in: Findings) -> None:
    (finding,) = [found for found in findings_in(f"[uwsgi]\n{text}\n") if found.code == "not-a-number"]
    assert finding.instead == instead


def test_a_missing_master_is_said_once_for_all_that_need_it(findings_in: Findings) -> None:
    found = findings_in("[uwsgi]\nprocesses = 2\nmax-requests = 5\nharakiri = 9\n")
    (finding,) = [finding for finding in found if finding.code == "no-master"]
    assert finding.line == 3
    assert "`max-requests`, `harakiri`" in finding.message


def test_a_value_that_is_not_known_draws_no_conclusion(findings_in: Findings) -> None:
    codes = {finding.code for finding in findings_in("[uwsgi]\nmaster = true\nprocesses = $(WORKERS)\ncheaper = 2\n")}
    assert "variable-unset" in codes
    assert not codes & {"no-workers", "cheaper-not-below-processes", "not-a-number"}


def test_explanations_and_codes_are_fit_to_print() -> None:
    for rule in RULES:
        assert rule.explanation.endswith((".", ")")), rule.code
        assert rule.code == rule.code.lower().replace("_", "-")
        assert re.match(r"https://(uwsgi-docs\.readthedocs\.io/en/latest/|docs\.gunicorn\.org|github\.com)", rule.docs)
    assert len({rule.code for rule in RULES}) == len(RULES)


def test_the_option_table_is_uwsgi_s() -> None:
    table = load_options()
    known = table.get("max-requests-delta")
    assert known
    assert (known.since, known.kind) == ("2.0.29", "64bit")
    assert table.aliases("processes") == ["processes", "workers"]
    listen, stats = table.get("listen"), table.get("stats")
    assert listen
    assert stats
    assert (listen.immediate, listen.wants_master) == (True, False)
    assert (stats.immediate, stats.wants_master) == (False, True)
