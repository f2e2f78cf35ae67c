"""Command lines: where files contain them, what a shell makes of them, and the rules that only they can break."""

import json
import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lowtide.tools.check.commands import Start, find_start
from lowtide.tools.check.compare import find_uwsgi
from lowtide.tools.check.files import UnreadableError
from lowtide.tools.check.options import load_options
from lowtide.tools.check.reader import Reader
from lowtide.tools.check.servers import read_server
from lowtide.tools.check.syntax import Command, RawLine
from lowtide.tools.cli import main

RELEASES = ["--no-compare", "--somaxconn", "4096", "--uwsgi", "2.0.31", "--python-version", "3.12"]
UWSGI = "uwsgi --socket :3031 --master --die-on-term --module app"
POD = 'kind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n    - name: a\n      command: ["gunicorn", "a:a"%s]\n%s'


@dataclass(frozen=True)
class Case:
    """`bad`, as a file of this name, draws the code at `level`; `good` does not."""

    code: str
    name: str
    bad: str
    level: str
    good: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.code}: {self.name}"


COMPOSE = "services: {a: {image: a, mem_limit: 1g, command: '%s'}}"
RSS = "granian --workers-max-rss 100 --respawn-failed-workers --rss-sample-interval 1 --workers-kill-timeout 9 a:a"
CASES = [
    Case("shell-form", "Dockerfile", f"CMD ./migrate && {UWSGI}", "warning", f"CMD ./migrate && exec {UWSGI}"),
    Case("shell-form", "Dockerfile", f"CMD {UWSGI}", "note", f"CMD {json.dumps(UWSGI.split())}"),
    Case("shell-form", "start.sh", f"#!/bin/sh\n./migrate\n{UWSGI}", "note", f"#!/bin/sh\n./migrate\nexec {UWSGI}"),
    Case("not-parsed", "Dockerfile", 'CMD ["uwsgi", "--procesess", "2"]', "error", 'CMD ["uwsgi", "--processes", "2"]'),
    Case("not-parsed", "Dockerfile", 'CMD ["uwsgi", "--socket"]', "error", 'CMD ["uwsgi", "--socket", "a"]'),
    Case("not-parsed", "Dockerfile", 'CMD ["uwsgi", "--master=true"]', "error", 'CMD ["uwsgi", "--master"]'),
    Case("not-parsed", "start.sh", "exec gunicorn --keepalive 5 a:a", "error", "exec gunicorn --keep-alive 5 a:a"),
    Case("not-parsed", "start.sh", "exec granian --rss 5 a:a", "error", "exec granian --workers-max-rss 5 a:a"),
    Case("not-parsed", "gunicorn.conf.py", "workers = (", "error", "workers = 2"),
    Case("no-socket", "Dockerfile", 'CMD ["uwsgi", "--master"]', "error", 'CMD ["uwsgi", "--socket", "a"]'),
    Case("no-prestop", "pod.yml", POD % ("", ""), "note", POD % ("", "      lifecycle: {preStop: {exec: {}}}\n")),
    Case("worker-tmp-dir", "pod.yml", POD % ("", ""), "note", POD % (', "--worker-tmp-dir", "/dev/shm"', "")),
    Case("no-preload", "gunicorn.conf.py", "workers = 2", "note", "workers = 2\npreload_app = True"),
    Case("timeout-off", "gunicorn.conf.py", "timeout = 0", "note", "timeout = 30"),
    Case("workers-not-respawned", "a.sh", "exec granian a:a", "note", "exec granian --respawn-failed-workers a:a"),
    Case("rss-sampled", "compose.yml", COMPOSE % "granian --workers-max-rss 90 a:a", "note", COMPOSE % RSS),
    Case("kill-timeout", "compose.yml", COMPOSE % "granian --workers-max-rss 90 a:a", "warning", COMPOSE % RSS),
    # The same facts about other servers have the same codes as for uWSGI.
    Case("memory-over-limit", "compose.yml", COMPOSE % RSS.replace("100", "900"), "error", COMPOSE % RSS),
    Case("recycle-together", "gunicorn.conf.py", "workers = 2\nmax_requests = 9", "warning", "workers = 2"),
    Case("delta-without-limit", "gunicorn.conf.py", "max_requests_jitter = 9", "warning", "max_requests = 9"),
    Case("mercy-over-grace", "compose.yml", COMPOSE % "gunicorn a", "note", COMPOSE % "gunicorn --graceful-timeout 5"),
    Case("harakiri-threads", "gunicorn.conf.py", "threads = 4\ntimeout = 30", "note", "timeout = 30"),
    Case("option-without-partner", "gunicorn.conf.py", "keepalive = 5", "note", "keepalive = 5\nthreads = 2"),
    Case(
        "option-without-partner",
        "gunicorn.conf.py",
        "worker_connections = 500",
        "note",
        "worker_connections = 500\nworker_class = 'gevent'",
    ),
    Case("unknown-option", "gunicorn.conf.py", "max_request = 5", "warning", "max_requests = 5"),
    Case("host-processors", "gunicorn.conf.py", "workers = cpu_count()", "note", "workers = 2"),
    Case("shell-variable", "Dockerfile", 'CMD ["uwsgi", "-p", "$N"]', "warning", "CMD uwsgi -p $N"),
    Case("variable-unset", "Dockerfile", "CMD uwsgi --socket a -p $N", "note", "ENV N=2\nCMD uwsgi --socket a -p $N"),
    Case("daemonize-in-container", "Dockerfile", 'CMD ["uwsgi", "-d", "/log"]', "error", 'CMD ["uwsgi", "-s", "/log"]'),
    Case("hook-not-graceful", "a.service", f"[Service]\nExecStart={UWSGI} --hook-master-start "
         "'unix_signal:15 gracefully_kill_them_all'", "warning", f"[Service]\nExecStart={UWSGI}"),
]  # fmt: skip


def rows(name: str, text: str, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    Path(name).write_text(text)
    main(["check", "--format", "json", *RELEASES, *arguments, name])
    output, errors = capsys.readouterr()
    assert errors == ""
    found: list[dict[str, Any]] = json.loads(output)["findings"]
    return found


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_finds(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    levels = [row["level"] for row in rows(case.name, case.bad, case.arguments, capsys) if row["code"] == case.code]
    assert case.level in levels


@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_silent_when_put_right(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert case.code not in [row["code"] for row in rows(case.name, case.good, case.arguments, capsys)]


def started(name: str, text: str, **told: str) -> Start:
    path = Path.cwd() / name
    path.write_text(text)
    start = find_start(path, None, told, told, True)
    assert start
    assert start.command
    return start


WORDS = {
    "prefixes": ("a.sh", "exec gosu app tini -- uwsgi --ini a.ini", ["uwsgi", "--ini", "a.ini"]),
    "variables": ("a.sh", "N=3\nexport M=${M:-4}\nuwsgi -p $N ${M} $L", ["uwsgi", "-p", "3", "4", "$(L)"]),
    "no-colon-default": ("a.sh", "uwsgi -p ${N-2} -l ${L:-9}", ["uwsgi", "-p", "2", "-l", "9"]),
    "substitution": ("a.sh", "uwsgi -p $(nproc) -M", ["uwsgi", "-p", "$(nproc)", "-M"]),
    "rest-of-the-arguments": ("a.sh", 'exec uwsgi -M "$@"', ["uwsgi", "-M"]),
    "only-a-start-is-one": ("a.sh", "pip install uwsgi\necho uwsgi\nexec uwsgi -M", ["uwsgi", "-M"]),
    "quotes": ("a.sh", "uwsgi --env 'A=b c'", ["uwsgi", "--env", "A=b c"]),
    "module": ("Procfile", "web: python -m gunicorn -w 2 a:a", ["gunicorn", "-w", "2", "a:a"]),
    "last-stage": ("Dockerfile", 'FROM a AS b\nENV N=2\nCMD uwsgi\nFROM b\nCMD uwsgi -p $N', ["uwsgi", "-p", "2"]),
    "unit": ("a.service", "Environment=N=2\nExecStart=-/bin/uwsgi \\\n $N %i", ["/bin/uwsgi", "2", "$(i)"]),
    "program": ("s.conf", "[program:a]\ncommand=nginx\n[program:b]\ncommand=uwsgi %(ENV_N)s", ["uwsgi", "$(N)"]),
}  # fmt: skip


@pytest.mark.parametrize("name", WORDS)
def test_words(name: str) -> None:
    file, text, words = WORDS[name]
    start = started(file, text)
    assert start.command
    assert list(start.command.words) == words


@pytest.mark.parametrize("words", ["--workers=3", "-w=3", "-w3", "-w 3", "-DRw3", "--max-requests 9 --workers 3"])
def test_a_command_line_is_read_as_argparse_reads_it(words: str) -> None:
    command = started("a.sh", f"exec gunicorn --thr 2 {words} a:a").command
    assert command
    reading = read_server(command, {}, lambda _: None, Path("a.sh"))
    assert not reading.problems
    assert {("processes", "3"), ("threads", "2")} <= {(option.name, option.value) for option in reading.options}


ARGUMENTS = [
    "--socket a --processes=3 --master",
    "-s a -p 3 -M -T -b 8192",
    "-p3 -MT -sa",
    "--processe 3 --uwsgi-sock a",
    "--http-keepalive --http-keepalive=5 --chmod-socket=660 --chmod-socket",
    "a.ini --processes 3",
    "--ini a.ini -p 3 --ini a.ini:b",
    "--set-ph x=3 --processes %(x) --chdir $(NUMBER)",
    "-- a.ini",
]


@pytest.mark.parametrize("line", ARGUMENTS)
def test_a_command_line_is_read_as_uwsgi_reads_it(line: str) -> None:
    Path("a.ini").write_text("[uwsgi]\nthreads = 2\n[b]\nthreads = 4\n")
    uwsgi, environ = find_uwsgi(), {"NUMBER": "7", "PATH": os.environ["PATH"]}
    assert uwsgi
    words = ("uwsgi", "--show-config", "--clock", "none", *line.split())
    done = subprocess.run([uwsgi, *words[1:]], env=environ, capture_output=True, text=True, timeout=30, check=False)
    _, _, rest = (done.stdout + done.stderr).partition("configuration\n[uwsgi]\n")
    loaded = rest.partition(";end of configuration")[0].splitlines()
    command = Command(words, "", RawLine(Path("Dockerfile"), 1, "", ""))
    reading = Reader(load_options(), environ, Path.cwd()).read_command(command)
    assert [f"{option.name} = {option.value or 'true'}" for option in reading.options] == loaded


def test_files_of_an_image_are_found_beside_its_dockerfile(capsys: pytest.CaptureFixture[str]) -> None:
    Path("conf").mkdir()
    Path("conf/site.ini").write_text("[uwsgi]\nprocesses = 4x\nsocket = a\n")
    text = 'FROM a\nWORKDIR /srv\nCOPY conf /etc/uwsgi\nCMD ["uwsgi", "/etc/uwsgi/site.ini"]\n'
    (row,) = [row for row in rows("Dockerfile", text, (), capsys) if row["code"] == "not-a-number"]
    assert (row["file"], row["line"]) == ("conf/site.ini", 2)
    text = "services: {a: {image: a, command: uwsgi /etc/uwsgi/site.ini, volumes: ['./conf:/etc/uwsgi:ro']}}"
    assert "not-a-number" in [row["code"] for row in rows("compose.yml", text, (), capsys)]
    text = 'FROM a\nCMD ["uwsgi", "/etc/elsewhere/uwsgi.ini"]\n'
    assert "include-not-read" in [row["code"] for row in rows("Dockerfile", text, (), capsys)]


def test_a_service_is_built_from_its_dockerfile(capsys: pytest.CaptureFixture[str]) -> None:
    Path("Dockerfile").write_text(
        'FROM a\nENV UWSGI_PROCESSES=8\nCMD ["uwsgi", "--socket", "a", "--reload-on-rss", "200"]'
    )
    text = "services: {web: {build: ., mem_limit: 1g}, db: {image: b}}"
    found = rows("compose.yml", text, ("--service", "web"), capsys)
    assert ("memory-over-limit", "Dockerfile", 3) in [(row["code"], row["file"], row["line"]) for row in found]


def test_a_container_s_environment_alone_configures_uwsgi(capsys: pytest.CaptureFixture[str]) -> None:
    text = "FROM a\nENV UWSGI_INI=/app/uwsgi.ini UWSGI_HTTP_SOCKET=:80\nCMD uwsgi"
    Path("uwsgi.ini").write_text("[uwsgi]\nprocesses = 4;\n")
    found = {row["code"]: row for row in rows("Dockerfile", text, (), capsys)}
    assert found["comment-behind-value"]["file"] == "uwsgi.ini"
    assert "no-socket" not in found


def test_the_variables_of_another_file_s_container_reach_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    Path("compose.yml").write_text("services: {a: {image: a, environment: {UWSGI_PROCESSES: 4x}}}")
    found = rows("start.sh", "exec uwsgi --socket a", ("--container", "compose.yml"), capsys)
    assert ("not-a-number", "environment") in [(row["code"], row["file"]) for row in found]


def test_a_flag_in_the_environment_is_placed_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--wrokers 2")
    (row,) = [row for row in rows("gunicorn.conf.py", "", (), capsys) if row["code"] == "not-parsed"]
    assert (row["file"], row["line"]) == ("environment", 0)


ENVIRONMENTS = {
    "Dockerfile": "FROM a\nENV UWSGI_PROCESSES=4x UWSGI_RELOAD_ON_RSS=500 UWSGI_MASTER=1",
    "compose.yml": "services:\n  web:\n    image: a\n    environment: {UWSGI_PROCESSES: 4x, UWSGI_RELOAD_ON_RSS: 500}\n"
    "    mem_limit: 1g\n  db: {image: b}",
    "values.yaml": "web:\n  extraEnv:\n    - name: UWSGI_PROCESSES\n      value: 4x\n    - {name: UWSGI_RELOAD_ON_RSS, "
    "value: 500}\n  resources: {limits: {memory: 1Gi}}",
    "values.yml": "env:\n  UWSGI_PROCESSES: 4x\n  UWSGI_RELOAD_ON_RSS: 500\nresources: {limits: {memory: 1Gi}}",
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_image_s_own_command_leaves_the_environment(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command may set is not known, so nothing is said to be missing."""
    codes = {row["code"] for row in rows(name, ENVIRONMENTS[name], (), capsys)}
    assert {"not-a-number", "include-not-read"} <= codes
    assert ("memory-over-limit" in codes) == (name != "Dockerfile")
    assert not codes & {"no-socket", "no-master", "no-max-fd", "option-without-partner", "section-missing"}


def test_an_image_s_variables_are_options_and_those_of_its_build_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    """uWSGI prints its release and exits, whatever is written behind the variable."""
    text = 'FROM a\n%s UWSGI_VERSION=2.0.31\nCMD ["uwsgi", "--socket", "a"]\n'
    (row,) = [row for row in rows("Dockerfile", text % "ENV", (), capsys) if row["code"] == "start-refused"]
    assert (row["option"], row["level"]) == ("version", "error")
    assert "start-refused" not in {row["code"] for row in rows("Dockerfile", text % "ARG", (), capsys)}
    uwsgi = find_uwsgi()
    assert uwsgi
    environ = {"UWSGI_VERSION": "2.0.31", "PATH": os.environ["PATH"]}
    done = subprocess.run([uwsgi, "--socket", "a"], env=environ, capture_output=True, timeout=30, check=False)
    assert (done.returncode, b"spawned" in done.stdout + done.stderr) == (0, False)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("Dockerfile", "FROM a\nCMD nginx", "no command of uWSGI, gunicorn or granian"),
        ("pod.yml", "kind: Pod\nspec: {containers: [{{{{ .Values.x }}}}]}", "template"),
        ("pod.yml", "kind: Pod\nspec: {containers: [{image: a}]}", "'name' is missing"),
        ("s.conf", "[program:a]\ncommand=uwsgi 'x", "not understood: line 1: No closing quotation"),
        ("a.service", 'ExecStart=uwsgi\nEnvironment="A=b', "not understood: line 2: No closing quotation"),
        ("a.service", "Restart=no\nExecStart=uwsgi 'a", "not understood: line 2: No closing quotation"),
        ("Dockerfile", "FROM a\nENV A='b", "not understood: line 2: No closing quotation"),
        ("Dockerfile", "FROM a\nCOPY [a]", "not understood: Expecting value"),
    ],
)
def test_what_cannot_be_read_is_said(name: str, text: str, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        started(name, text)


@pytest.mark.parametrize(
    ("name", "setting", "seconds"),
    [
        ("a.service", "TimeoutStopSec=5s", 5),
        ("a.service", "TimeoutStopSec=20", 20),
        ("a.service", "TimeoutStopSec=1min 30s", 90),
        ("a.service", "TimeoutStopSec=2min", 120),
        ("a.service", "TimeoutSec=500ms", 0.5),
        ("a.service", "TimeoutStopSec=infinity", math.inf),
        ("a.service", "TimeoutStopSec=0", math.inf),
        ("a.service", "TimeoutStopSec=soon", 90),
        ("a.service", "", 90),
        ("s.conf", "stopwaitsecs=20", 20),
        ("s.conf", "stopwaitsecs=%(ENV_X)s", None),
        ("s.conf", "", 10),
    ],
)
def test_how_long_a_stop_may_take(name: str, setting: str, seconds: float | None) -> None:
    start = f"ExecStart={UWSGI}" if name == "a.service" else f"[program:web] ; the site\ncommand={UWSGI}"
    assert started(name, f"{start}\n{setting}\n").container.stop_grace == seconds


def test_a_stop_signal_belongs_to_its_stage() -> None:
    stages = "FROM a AS b\nSTOPSIGNAL SIGINT\nFROM %s\nCMD uwsgi"
    assert started("Dockerfile", stages % "b").container.stop_signal == "SIGINT"
    assert started("Dockerfile", stages % "c").container.stop_signal is None


def test_a_stop_without_an_end_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[Service]\nExecStart=uwsgi --socket a --master\nTimeoutStopSec=infinity\n"
    (message,) = [row["message"] for row in rows("a.service", text, (), capsys) if row["code"] == "sigterm-reloads"]
    assert message == "On SIGTERM uWSGI reloads instead of stopping, and the service waits for it without end."
