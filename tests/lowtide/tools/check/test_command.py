"""The command: exit codes, formats, --fix, surroundings, and one line for a file that cannot be read."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from lowtide.tools.check.compare import find_uwsgi
from lowtide.tools.check.findings import Finding, Level, Report
from lowtide.tools.check.output.text import render
from lowtide.tools.check.rules import RULES
from lowtide.tools.cli import main

PUBLISHED = Path(__file__).parent / "published"
REPOSITORY = Path(__file__).parents[4]
GOOD = "[uwsgi]\nmaster = true\nprocesses = 2\nmodule = app\n"
BAD = GOOD + "die-on-term = flase\n"


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    uwsgi = find_uwsgi()
    assert uwsgi, "these tests need a real uwsgi beside this Python or on PATH"
    command: Sequence[str] = [sys.executable, "-m", "lowtide", "check", *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": f"{uwsgi.parent}:/usr/bin:/bin"},
    )


def codes(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    main(["check", "--format", "json", "--no-compare", "--somaxconn", "4096", *arguments])
    return [row["code"] for row in json.loads(capsys.readouterr().out)["findings"]]


def test_exit_0_and_a_comparison_with_the_real_uwsgi() -> None:
    Path("uwsgi.ini").write_text(GOOD)
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 errors, 0 warnings" in done.stdout
    assert "loads the same 3 options" in done.stdout


def test_exit_1_and_what_the_text_says() -> None:
    Path("uwsgi.ini").write_text(BAD)
    done = run()
    assert (done.returncode, done.stderr) == (1, "")
    assert "uwsgi.ini:5: error: die-on-term = flase [not-a-boolean]\n  uWSGI has: true\n" in done.stdout
    assert "  Instead: die-on-term = false\n" in done.stdout
    assert "https://uwsgi-docs.readthedocs.io/" in done.stdout


def test_a_refusal_of_the_real_uwsgi_is_a_finding(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nmaster = true\nmodule = app\nimmediate = x\nstrict = true\n")
    assert main(["check", "--format", "json"]) == 1
    found = [row["code"] for row in json.loads(capsys.readouterr().out)["findings"]]
    assert "uwsgi-refuses" in found


UNREADABLE: dict[str, tuple[list[str], bytes | None, str]] = {
    "missing": (["nowhere.ini"], None, "no such file"),
    "binary": ([], b"\x7fELF\0\0", "NUL"),
    "utf-16": ([], GOOD.encode("utf-16"), "NUL"),
    "large": ([], b"[uwsgi]\n" + b"x = y\n" * 1_700_000, "1 MiB"),
    "folder": (["."], None, "not a regular file"),
    "recursive": ([], b"[uwsgi]\nini = uwsgi.ini\n", "includes itself"),
    "long-name": (["x" * 5000], None, "name too long"),
    "json": (["uwsgi.json"], None, "no such file"),
    "gunicorn": (["gunicorn.conf.py"], None, "no such file"),
    "standard-input": (["-"], None, "not a file"),
    "url": (["http://127.0.0.1:1/x.ini"], None, "not a file"),
    "no-manifest": (["--container", "nowhere.yml"], GOOD.encode(), "no such file"),
    "no-env-file": (["--env-file", "nowhere"], GOOD.encode(), "no such file"),
    "odd-env": (["--env", "X"], GOOD.encode(), "NAME=VALUE"),
    "service-alone": (["--service", "x"], GOOD.encode(), "--container"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_exit_2_and_one_line(name: str) -> None:
    arguments, data, words = UNREADABLE[name]
    if data is not None:
        Path("uwsgi.ini").write_bytes(data)
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words.lower() in done.stderr.lower()
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--memory", "much"], ["--processes", "0"], ["--stop-grace", "soon"]])
def test_exit_2_for_an_odd_command_line(arguments: list[str]) -> None:
    Path("uwsgi.ini").write_text(GOOD)
    done = run(*arguments)
    assert done.returncode == 2
    assert repr(arguments[1]) in done.stderr


SLOW = {
    "blanks": b"[uwsgi]\nmodule = a" + b" " * 900_000 + b"b\n",
    "dollars": b"[uwsgi]\nmodule = " + b"${a" * 300_000 + b"\n",
    "placeholders": b"[uwsgi]\nmodule = " + b"$(" * 400_000 + b"\n",
    "unknown-names": b"[uwsgi]\n" + b"".join(b"prozesses%d = 1\n" % number for number in range(4900)),
    "percent": b"%" * 1_000_000,
    "sections": b"[uwsgi]\n" + b"[a\n" * 300_000,
    "statements": b"[uwsgi]\nsocket = " + b"{%" * 400_000 + b"\n",
    "expressions": b"[uwsgi]\nsocket = " + b"{{" * 400_000 + b"\n",
    "tags": b"[uwsgi]\nsocket = " + b"<%" * 400_000 + b"\n",
    "terminal-codes": b"[uwsgi]\nsocket = \x1b[31m ; x\n",
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.timeout(120)
def test_hostile_text_ends_in_words(name: str) -> None:
    Path("uwsgi.ini").write_bytes(SLOW[name])
    done = run("--no-compare")
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout


SLOW_STARTS = {
    "Dockerfile": b"CMD " + b"\\\n" * 300_000 + b"uwsgi",
    "Containerfile": b'CMD ["uwsgi"' + b', "--x"' * 20_000 + b"]",
    "a.sh": b"uwsgi " + b"$(" * 200_000,
    "b.sh": b"#!/bin/sh\n" + b"uwsgi '\n" * 50_000,
    "c.sh": b"uwsgi " + b"${a-" * 20_000,
    "d.sh": b"uwsgi " + b"((((" * 100_000,
    "a.service": b"[Service]\nExecStart=uwsgi " + b"%" * 300_000,
    "a.conf": b"[program:a]\ncommand=uwsgi\n" * 20_000,
    "gunicorn.conf.py": b"workers = " + b"(" * 100_000,
    "a.xml": b"<uwsgi>" + b"<a>" * 100_000,
    "a.json": b'{"uwsgi": {"a": ' + b"[" * 100_000,
    "Procfile": b"web: uwsgi " + b"\0",
}


@pytest.mark.parametrize("name", SLOW_STARTS)
@pytest.mark.timeout(120)
def test_hostile_starts_end_in_words(name: str) -> None:
    Path(name).write_bytes(SLOW_STARTS[name])
    done = run("--no-compare", name)
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1


def test_json_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.ini").write_text(BAD)
    main(["check", "--format", "json", "--no-compare"])
    report = json.loads(capsys.readouterr().out)
    (finding,) = [row for row in report["findings"] if row["code"] == "not-a-boolean"]
    assert report["schema"] == 1
    assert list(finding) == ["code", "level", "file", "line", "option", "written", "effective", "message", "instead"]
    assert {key: finding[key] for key in ("level", "file", "line", "option", "written", "effective", "instead")} == {
        "level": "error",
        "file": "uwsgi.ini",
        "line": 5,
        "option": "die-on-term",
        "written": "flase",
        "effective": "true",
        "instead": "die-on-term = false",
    }


def test_sarif_explains_every_result(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.ini").write_text(BAD)
    main(["check", "--format", "sarif", "--no-compare"])
    log = json.loads(capsys.readouterr().out)
    (run_,) = log["runs"]
    rules = {rule["id"]: rule for rule in run_["tool"]["driver"]["rules"]}
    assert log["version"] == "2.1.0"
    assert {result["ruleId"] for result in run_["results"]} <= set(rules)
    (result,) = [result for result in run_["results"] if result["ruleId"] == "not-a-boolean"]
    place = result["locations"][0]["physicalLocation"]
    assert result["level"] == "error"
    assert place == {"artifactLocation": {"uri": "uwsgi.ini"}, "region": {"startLine": 5}}
    assert all(rule["helpUri"] and rule["fullDescription"]["text"] for rule in rules.values())


def test_sarif_places_are_uris_and_each_result_has_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWSGI_NO_SUCH_OPTION", "1")
    Path("my site.ini").write_text("[uwsgi]\nstrict = true\nprocesses = x\n")
    main(["check", "--format", "sarif", "--no-compare", "my site.ini"])
    results = json.loads(capsys.readouterr().out)["runs"][0]["results"]
    places = {result["ruleId"]: result["locations"][0]["physicalLocation"] for result in results}
    uri = {"uri": "my%20site.ini"}
    assert places["not-a-number"] == {"artifactLocation": uri, "region": {"startLine": 3}}
    # From the environment: the file that was checked stands for it.
    assert places["unknown-option"] == {"artifactLocation": uri, "region": {"startLine": 1}}


def test_codes_lists_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--codes"]) == 0
    listed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert listed == [rule.code for rule in RULES]


def test_processes_and_memory_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nmaster = true\nreload-on-rss = 200\n")
    assert "memory-over-limit" not in codes(capsys, "--memory", "1g")
    assert "memory-over-limit" in codes(capsys, "--memory", "1g", "--processes", "8")
    assert "memory-over-limit" in codes(capsys, "--memory", "200m")


def test_stop_grace_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    hook = "hook-master-start = unix_signal:15 gracefully_kill_them_all\n"
    Path("uwsgi.ini").write_text(GOOD + hook + "harakiri = 70\n")
    assert "mercy-over-grace" in codes(capsys, "--stop-grace", "1m")
    assert "mercy-over-grace" not in codes(capsys, "--stop-grace", "1m15s")


def test_environment_files_and_their_order(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nprocesses = $(WORKERS)\n")
    monkeypatch.delenv("WORKERS", raising=False)
    assert "variable-unset" in codes(capsys)
    Path(".env").write_text("# none\n\nexport WORKERS='0'\n")
    assert "no-workers" in codes(capsys, "--env-file", ".env")
    monkeypatch.setenv("WORKERS", "2")
    assert "no-workers" not in codes(capsys, "--env-file", ".env")
    assert "no-workers" in codes(capsys, "--env-file", ".env", "--env", "WORKERS=0")


def test_a_container_brings_its_environment_and_limits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKERS", raising=False)
    Path("uwsgi.ini").write_text("[uwsgi]\nmaster = true\nprocesses = $(WORKERS)\nreload-on-rss = 256\n")
    Path("compose.yml").write_text(
        "services:\n  app:\n    mem_limit: ${LIMIT:-1g}\n    environment: {WORKERS: 8}\n  db: {}\n"
    )
    assert "memory-over-limit" in codes(capsys, "--container", "compose.yml", "--service", "app")
    assert "memory-over-limit" not in codes(
        capsys, "--container", "compose.yml", "--service", "app", "--env", "LIMIT=8g"
    )


FIXES = {
    "comments": (
        b"[uwsgi]\n  master = true   ; on\n# kept\nprocesses=4 # four\nsocket = /p ; c\n",
        b"[uwsgi]\n  ; on\n  master = true\n# kept\n# four\nprocesses=4\n; c\nsocket = /p\n",
    ),
    "units": (
        b"[uwsgi]\nreload-on-rss =  512MB\nharakiri = 30s ; s\n",
        b"[uwsgi]\nreload-on-rss =  512\n; s\nharakiri = 30\n",
    ),
    "quotes": (b"[uwsgi]\nchdir = \"/srv\"\nmodule = 'a'\n", b"[uwsgi]\nchdir = /srv\nmodule = a\n"),
    "quoted-blank-stays": (b'[uwsgi]\nprocname-prefix = "a "\n', b'[uwsgi]\nprocname-prefix = "a "\n'),
    "byte-order-mark": (b"\xef\xbb\xbf[uwsgi]\nmaster = true\n", b"[uwsgi]\nmaster = true\n"),
    "block-end": (b"[uwsgi]\nif-env = A\nendif ; x\n", b"[uwsgi]\nif-env = A\n; x\nendif =\n"),
    "crlf-and-latin-1": (
        b"[uwsgi]\r\nprocesses = 4 ; caf\xe9\r\nmodule = \xfc\r\n",
        b"[uwsgi]\r\n; caf\xe9\r\nprocesses = 4\r\nmodule = \xfc\r\n",
    ),
    "no-final-newline": (b"[uwsgi]\nprocesses = 4 ; four", b"[uwsgi]\n; four\nprocesses = 4"),
    "guesses-stay": (
        b"[uwsgi]\nmax-worker-lifetime = 1h\ndie-on-term = flase\nmax_requests = 5\nprocesses = ${N}\n",
        b"[uwsgi]\nmax-worker-lifetime = 1h\ndie-on-term = flase\nmax_requests = 5\nprocesses = ${N}\n",
    ),
    "commands-stay": (b"[uwsgi]\nexec-asap = a ; b # c\n", b"[uwsgi]\nexec-asap = a ; b # c\n"),
}


@pytest.mark.parametrize("name", FIXES)
def test_fix_rewrites_what_is_safe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = FIXES[name]
    Path("uwsgi.ini").write_bytes(before)
    codes(capsys, "--fix")
    assert Path("uwsgi.ini").read_bytes() == after
    codes(capsys, "--fix")
    assert Path("uwsgi.ini").read_bytes() == after


def test_fix_rewrites_yaml_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.yml").write_text('uwsgi:\n  socket: "/p" # kept\n  reload-on-rss: 99m\n')
    codes(capsys, "--fix", "uwsgi.yml")
    assert Path("uwsgi.yml").read_text() == "uwsgi:\n  socket: /p # kept\n  reload-on-rss: 99\n"


def test_fix_leaves_included_files_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nini = other.ini\n")
    Path("other.ini").write_text("[uwsgi]\nprocesses = 4 ; four\n")
    assert "comment-behind-value" in codes(capsys, "--fix")
    assert Path("other.ini").read_text() == "[uwsgi]\nprocesses = 4 ; four\n"


def test_fix_says_what_it_did() -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nmaster = true\nprocesses = 4 ; four\n")
    done = run("--fix")
    assert done.returncode == 0
    assert "Rewrote 1 line of uwsgi.ini." in done.stdout


def test_fix_of_a_file_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("uwsgi.ini").write_text("[uwsgi]\nprocesses = 4 ; four\n")

    def refuse(path: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert main(["check", "--fix", "--no-compare"]) == 2
    assert capsys.readouterr().err.endswith("uwsgi.ini: cannot be rewritten: Permission denied\n")


def test_a_closed_pipe_is_no_traceback() -> None:
    Path("uwsgi.ini").write_text(BAD)
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m lowtide check --codes | head -1"],
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == f"{RULES[0].code}\n"
    assert done.stderr == ""


PAGES = {"check.md": (REPOSITORY, 2), "check-patterns.md": (PUBLISHED, 11)}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_quotes_what_the_command_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, count = PAGES[name]
    monkeypatch.chdir(folder)
    page = (REPOSITORY / "docs" / name).read_text()
    outputs = re.findall(r"```console\n\$ lowtide check (.*)\n([\s\S]*?)```", page)
    assert len(outputs) == count
    for arguments, quoted in outputs:
        real, said = (
            re.sub(r"uWSGI [\d.]+ loads the same \d+", "uWSGI loads the same", text)
            for text in (run(*arguments.split()).stdout, quoted)
        )
        assert real == said


def test_the_page_shows_each_pattern_as_it_is() -> None:
    page = (REPOSITORY / "docs" / "check-patterns.md").read_text()
    shown = re.findall(r"```(?:ini|yaml)\n([\s\S]*?)```\n\n```console\n\$ lowtide check (\S+)", page)
    assert len(shown) == 11
    for text, name in shown:
        assert text == (PUBLISHED / name).read_text().rstrip("\n") + "\n"


def test_what_stops_the_server_comes_first_and_a_rule_is_one_paragraph() -> None:
    def finding(level: Level, code: str, line: int, weight: int = 0) -> Finding:
        return Finding(level, "a.ini", line, None, None, None, "It does.", f"write {line}", code=code, weight=weight)

    odd = [finding(Level.WARNING, "odd", line) for line in (1, 5)]
    others = [finding(Level.NOTE, "harmless", 2), finding(Level.ERROR, "looks", 3), finding(Level.ERROR, "stops", 4, 9)]
    *paragraphs, last = render(Report("a.ini", "a.ini", [odd[0], *others, odd[1]], "")).split("\n\n")
    assert [re.findall(r"\[(\w+)\]", paragraph)[0] for paragraph in paragraphs] == ["stops", "looks", "odd", "harmless"]
    assert [line for line in paragraphs[2].splitlines() if line[:1] != " "] == [
        "a.ini:1: warning [odd]",
        "a.ini:5: warning [odd]",
    ]
    assert paragraphs[2].count("It does.") == 1
    assert last == "a.ini: 2 errors, 2 warnings, 1 note. \nFirst: a.ini:4: write 4 [stops]\n"
