"""Public configurations of many kinds, as facts: each draws what it should, and a real uWSGI starts or refuses each as
this check says.

An entry of public.txt is a header (name, kind, arguments), the configuration, and behind `---` the codes above a note
that it draws, with why. An entry without codes is correct.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lowtide.tools.check.commands import find_start
from lowtide.tools.check.compare import find_uwsgi
from lowtide.tools.check.options import load_options
from lowtide.tools.check.reader import Reader
from lowtide.tools.cli import main

HERE = Path(__file__).parent
NAMES = {
    "ini": "uwsgi.ini",
    "yaml": "uwsgi.yml",
    "xml": "uwsgi.xml",
    "json": "uwsgi.json",
    "Dockerfile": "Dockerfile",
    "shell": "start.sh",
    "Procfile": "Procfile",
    "systemd": "app.service",
    "supervisor": "supervisord.conf",
    "compose": "docker-compose.yml",
    "kubernetes": "web.yml",
    "ecs": "task.json",
    "gunicorn": "gunicorn.conf.py",
}
RELEASES = ["--no-compare", "--somaxconn", "4096", "--uwsgi", "2.0.31", "--python-version", "3.12"]


@dataclass(frozen=True)
class Entry:
    name: str
    kind: str
    arguments: tuple[str, ...]
    text: str
    codes: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return self.name


def entries() -> Iterator[Entry]:
    text = (HERE / "public.txt").read_text()
    for header, body, codes, why in re.findall(r"^=== (.*)\n([\s\S]*?)^--- \[(.*)\] (.*)$", text, re.MULTILINE):
        name, kind, *arguments = header.split()
        body = f"[uwsgi]\n{body}" if kind == "ini" else body
        yield Entry(name, kind, tuple(arguments), body, tuple(codes.split()), why)


ENTRIES = list(entries())


def findings(entry: Entry, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    (folder / NAMES[entry.kind]).write_text(entry.text)
    service = ["--service", "web"] if entry.kind == "compose" and "  db:" in entry.text else []
    main(["check", "--format", "json", *RELEASES, *entry.arguments, *service, NAMES[entry.kind]])
    output, errors = capsys.readouterr()
    assert errors == ""
    rows: list[dict[str, str]] = json.loads(output)["findings"]
    return rows


@pytest.fixture(autouse=True)
def bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("UWSGI_", "GUNICORN_", "GRANIAN_")) or name in ("PORT", "WORKERS", "WEB_CONCURRENCY"):
            monkeypatch.delenv(name)


def test_there_are_enough_of_every_kind() -> None:
    assert len(ENTRIES) >= 120
    assert {entry.kind for entry in ENTRIES} == set(NAMES)
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert all(entry.why.startswith("correct") == (not entry.codes) for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_draws_what_it_should(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = findings(entry, tmp_path, capsys)
    assert tuple(sorted({row["code"] for row in rows if row["level"] != "note"})) == entry.codes


# The codes of faults with which uWSGI does not start. no-socket is only a note, because the command line may name one.
REFUSALS = {"start-refused", "cheaper-not-below-processes", "lifetime-order", "listen-over-somaxconn", "hook-fails"}
REFUSALS |= {"not-parsed", "no-socket", "include-missing", "block-nested", "set-without-value", "placeholder-is-option"}
# What uWSGI's log says, and the code that says it here.
WARNINGS = {"invalid cheaper-initial value": "start-warned", "falling back to spare": "start-warned"}
# Entries that need something that is not on this machine, or that would change something on it.
ELSEWHERE = re.compile(
    r"chdir|home|virtualenv|pythonpath|module|wsgi|wsgi-file|file|callable|need-app|mount|pidfile|logto|daemonize|"
    r"touch-.*|plugins?|binary-path|chown-socket|env|py-autoreload|show-config|vassals-.*|https|subscribe-to|logger|"
    r"limit-as|cpu-affinity|mule|master-fifo|strict|max-fd"
)


def neutral(entry: Entry, folder: Path) -> str:
    """The options of the entry in one INI file, whose sockets are unix sockets in `folder`."""
    table = load_options()
    told = dict(pair.split("=", 1) for pair in entry.arguments if "=" in pair)
    path = folder / NAMES[entry.kind]
    path.write_text(entry.text)
    start = find_start(path, "web" if entry.kind in ("compose", "Procfile") else None, told, told, True)
    if start and start.command:
        assert start.command.server == "uwsgi"
        reading = Reader(table, start.environ, folder, start.locate).read_command(start.command)
    else:
        reading = Reader(table, told, folder).read(path.name)
    lines = ["[uwsgi]", "max-fd = 1024"]
    lines += ["strict = true"] if any(option.name == "strict" for option in reading.options) else []
    cheaper = any(option.name == "cheaper" for option in reading.options)
    for number, option in enumerate(reading.options):
        name, value = option.name, option.value
        if (name in ("uid", "gid") and " " not in value) or ELSEWHERE.fullmatch(name) or re.search(r"{{|\$\(", value):
            continue
        if re.fullmatch(r"(.*-)?socket|http|stats", name) and not re.match("ch|map-", name):
            value = f"s{number}"
        elif name in ("emperor", "spooler"):
            value = "empty"
        elif name in ("processes", "workers") and value.isdigit() and not cheaper:
            value = str(min(int(value), 4))
        lines.append(f"{name} = {value}")
    return "\n".join(lines) + "\n"


def start_real(folder: Path) -> tuple[bool, str]:
    """Start uWSGI in `folder`; whether it serves, and its log. Its whole process group is killed afterwards."""
    uwsgi = find_uwsgi()
    assert uwsgi, "these tests need a real uwsgi beside this Python or on PATH"
    (folder / "empty").mkdir()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [uwsgi, "--ini", "neutral.ini"],
            cwd=folder,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    serves = False
    try:
        for _ in range(200):
            text = log.read_text(errors="replace")
            serves = bool(re.search(r"spawned uWSGI (worker 1|master process)|starting uWSGI Emperor", text))
            if process.poll() is not None or serves:
                break
            time.sleep(0.05)
        # Hooks of the master and the loop of a worker fail only after the first worker has started.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        text = log.read_text(errors="replace")
        fails = process.poll() is not None or any(words in text for words in ENDS_LATER)
        return serves and not fails, text
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


ENDS_LATER = ("unavailable loop engine", "invalid worker num", "FATAL hook")
STARTED = [entry for entry in ENTRIES if not re.search("gunicorn|granian", entry.kind + entry.text)]
RAW = {"not-parsed", "host-processors"}


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_real_uwsgi_starts_refuses_and_warns_as_this_check_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {entry: tmp_path / entry.name for entry in STARTED if not RAW & set(entry.codes)}
    assert len(folders) >= 100
    for entry, folder in folders.items():
        folder.mkdir()
        (folder / "neutral.ini").write_text(neutral(entry, folder))
    with ThreadPoolExecutor(16) as pool:
        results = dict(zip(folders, pool.map(start_real, folders.values()), strict=True))
    differ = []
    for entry, (serves, log) in results.items():
        monkeypatch.chdir(folders[entry])
        main(["check", "--format", "json", *RELEASES, "neutral.ini"])
        rows = json.loads(capsys.readouterr().out)["findings"]
        codes = {row["code"] for row in rows}
        unknown = any(row["code"] == "unknown-option" and row["level"] == "error" for row in rows)
        if bool(codes & REFUSALS or unknown) == serves:
            differ.append(f"{entry.name}: {'starts' if serves else 'refuses'}, {sorted(codes)}: {log[-300:]}")
        for words, code in WARNINGS.items():
            if words in log and code not in codes:
                differ.append(f"{entry.name}: uWSGI warns: {words}")
        several = re.search(r"^(processes|workers) = [2-9]", (folders[entry] / "neutral.ini").read_text(), re.MULTILINE)
        if several and ("without its master process manager" in log) != ("no-master" in codes):
            differ.append(f"{entry.name}: master or not, {sorted(codes)}")
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize("entry", [e for e in STARTED if "not-parsed" in e.codes], ids=str)
def test_a_real_uwsgi_parses_no_more_than_this_check(entry: Entry, tmp_path: Path) -> None:
    path = tmp_path / NAMES[entry.kind]
    path.write_text(entry.text)
    start = find_start(path, None, {}, {}, True)
    words = list(start.command.words[1:]) if start and start.command else [path.name]
    uwsgi = find_uwsgi()
    assert uwsgi
    done = subprocess.run([uwsgi, *words], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "spawned uWSGI" not in done.stdout + done.stderr
