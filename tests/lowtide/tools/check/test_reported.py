"""Configurations that the check once judged wrongly: what it has to say about each, and what it must not say."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from lowtide.tools.cli import main

MASTER = "master = true\nprocesses = 2\nlisten = 1024\nmax-fd = 4096\n"
SOCKET = f"{MASTER}socket = /run/a.sock\n"
STRICT = f"strict = true\n{SOCKET}die-on-term = true\n"
HOOK = "hook-master-start = unix_signal:15 gracefully_kill_them_all"


@dataclass(frozen=True)
class Report:
    """`says` pairs a code, its level in front, with words of the finding; of the codes in `never` there is none."""

    text: str
    says: tuple[tuple[str, str], ...]
    never: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environ: tuple[tuple[str, str], ...] = ()


REPORTS = {
    "address-space": Report(
        f"{SOCKET}reload-on-as = 256\n",
        (("note reload-on-as", "reload-on-rss = 205"),),
        arguments=("--memory", "512m"),
    ),
    "soft-limit-without-measure": Report(
        f"{STRICT}cheaper = 1\ncheaper-rss-limit-soft = 134217728\n", (("error start-refused", "memory-report = true"),)
    ),
    "hard-limit-without-soft": Report(
        f"{STRICT}cheaper = 1\nmemory-report = true\ncheaper-rss-limit-hard = 134217728\n",
        (("error start-refused", "cheaper-rss-limit-soft = ..., below 134217728"),),
    ),
    "mode-of-four-digits": Report(f"{STRICT}chmod-socket = 0660\n", (("error start-refused", "chmod-socket = 660"),)),
    "options-in-the-environment": Report(
        f"master = true\n{HOOK}\nenv = DJANGO_SETTINGS_MODULE = shop.settings\n",
        (("error env-text", "DJANGO_SETTINGS_MODULE=shop.settings"), ("error include-missing", "other.ini")),
        ("no-socket", "variable-unset"),
        environ=(("UWSGI_SOCKET", "/run/a.sock"), ("UWSGI_INI", "other.ini")),
    ),
    "blanks-quotes-comments-in-env": Report(
        f'{STRICT}env = A = shop.settings\nenv = LANG="C.UTF-8"\nenv = MODE=prod ; the stage\n',
        (("error env-text", "'A '"), ("error env-text", '"C.UTF-8"'), ("error env-text", "prod ; the stage")),
    ),
    "comment-behind-gevent": Report(
        f"{STRICT}gevent = 400 # greenlets\n",
        (("warning comment-behind-value", "the number survives"),),
        ("not-a-number", "start-refused"),
    ),
    "comment-behind-hook": Report(
        f"{SOCKET}{HOOK} ; finish requests first\n", (("error hook-fails", HOOK),), ("comment-behind-value",)
    ),
    "router-options-without-router": Report(
        f"{MASTER}http-socket = :8000\nhttp-timeout = 300\nhttp-keepalive = 75\nhttp-auto-chunked = true\n",
        tuple(
            ("warning option-without-partner", f"`{name}`")
            for name in ("http-timeout", "http-keepalive", "http-auto-chunked")
        ),
    ),
    "router-without-listen": Report(
        "master = true\nprocesses = 2\nhttp = :8000\nmax-fd = 4096\n", (("note listen-default", "100 connections"),)
    ),
    # A limit that fits sixteen workers into 512 MB would be below what an idle worker holds.
    "advice-below-an-idle-worker": Report(
        SOCKET.replace("= 2", "= 16"),
        (("note no-memory-recycling", "processes = 5, and reload-on-rss = 90"),),
        arguments=("--memory", "512m"),
    ),
    "mercy-and-die-on-term": Report(
        f"{SOCKET}die-on-term = true\nworker-reload-mercy = 60\nreload-on-rss = 150\n",
        (("note die-on-term", "at once"),),
        ("mercy-over-grace", "mercy-not-container", "memory-over-limit"),
        ("--memory", "512m", "--stop-grace", "10s"),
    ),
    "no-name-is-near": Report(
        f"{SOCKET}log-buffering = 1024\ngui = www-data\nchown = www-data:www-data\n",
        tuple(("note unknown-option", "Remove the line") for _ in range(3)),
    ),
    "master-options-without-master": Report(
        f"{SOCKET}{HOOK}\nworker-reload-mercy = 5\n".replace("master = true", "master = false").replace("= 2", "= 1"),
        (("warning option-without-partner", "hook-master-start"),),
        ("no-master",),
    ),
    "router-before-2.0.28": Report(
        f"{MASTER}http = :8000\ndie-on-term = true\n",
        (("note die-on-term", "uWSGI 2.0.28 or newer"),),
        arguments=("--uwsgi", "2.0.26"),
    ),
    "options-without-partner": Report(
        f"{SOCKET}cheaper-initial = 1\ncheaper-algo = busyness\ncheaper-overload = 10\nstats-http = true\n"
        "harakiri-graceful-timeout = 5\n",
        tuple(
            ("warning option-without-partner", f"`{name}`")
            for name in (
                "cheaper-initial",
                "cheaper-algo",
                "cheaper-overload",
                "stats-http",
                "harakiri-graceful-timeout",
            )
        ),
    ),
    "semicolons-at-the-end": Report(
        "master = true;\nprocesses = 4;\nsocket = /run/app.sock;\nlisten = 1024\n",
        (("error comment-behind-value", "/run/app.sock"), ("warning comment-behind-value", "Likewise in line")),
    ),
    "a-semicolon-by-itself": Report(
        f"{SOCKET}module = app ;\n", (("error comment-behind-value", "The `;` belongs to the value"),)
    ),
    "one-finding-for-an-unknown-option-with-a-comment": Report(
        f"{SOCKET}max_requests = 3 ; x\n", (("warning unknown-option", "max-requests = 3"),), ("comment-behind-value",)
    ),
    "options-of-a-loaded-plugin": Report(
        f"{STRICT}plugins = sometool\nsometool-size = 3\n", (("note unknown-option", "Unless the plugin sometool"),)
    ),
    "the-nearest-name-crashes": Report(
        f"{SOCKET}py-callos-afterfork = true\n",
        (("warning unknown-option", "py-call-uwsgi-fork-hooks = true"),),
        arguments=("--python-version", "3.13"),
    ),
    "a-switch-s-word-for-a-number": Report(
        f"{SOCKET}post-buffering = true\n", (("error not-a-number", "post-buffering = 8192"),)
    ),
    "a-name-that-is-only-shown": Report(f'{SOCKET}procname-prefix = "x "\n', (("note quoted-value", "is shown"),)),
    "a-hook-with-async": Report(
        f"{SOCKET}{HOOK}\nasync = 9\nugreen = true\n", (("note hook-not-graceful", "a worker exits at once"),)
    ),
    "threads-before-2.0.27": Report(
        f"{SOCKET}die-on-term = true\nthreads = 4\n",
        (("note die-on-term", "a worker with threads hangs until mercy"),),
        arguments=("--uwsgi", "2.0.26"),
    ),
    "two-options-in-one-line": Report(
        f"{STRICT}uid = app  gid = app\npidfile = /run/app.pid    //pid of the master\n",
        (("error start-refused", "uid = app"), ("error comment-behind-value", "pidfile = /run/app.pid")),
    ),
    "a-number-that-is-not-known": Report(
        f"{SOCKET}reload-on-rss = 300\n".replace("= 2", "= $(N)"),
        (("error no-workers", "There is no worker"),),
        ("memory-over-limit",),
        ("--memory", "512m", "--env", "N=0"),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_says_what_is_so_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = REPORTS[name]
    monkeypatch.chdir(tmp_path)
    for variable, value in report.environ:
        monkeypatch.setenv(variable, value)
    Path("uwsgi.ini").write_text(f"[uwsgi]\n{report.text}")
    releases = ("--no-compare", "--somaxconn", "4096", "--python-version", "3.12")
    main(["check", "--format", "json", *releases, *report.arguments, "uwsgi.ini"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    said = [f"{found['level']} {found['code']}: {found['message']} {found['instead']}" for found in findings]
    for code, words in report.says:
        said.remove(next(text for text in said if text.startswith(f"{code}:") and words in text))
    assert not {found["code"] for found in findings} & set(report.never), findings
