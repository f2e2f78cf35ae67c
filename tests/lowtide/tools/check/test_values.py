"""The check reads numbers and switches as a real uWSGI does, whose Python is asked for its values."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lowtide.tools.check.compare import find_uwsgi
from lowtide.tools.check.findings import Finding
from lowtide.tools.check.options import load_options
from lowtide.tools.check.reader import Reader
from lowtide.tools.check.settings import Settings

PROBE = """
import json, os, uwsgi
values = {"processes": uwsgi.numproc, "buffer-size": uwsgi.buffer_size, "master": bool(uwsgi.masterpid())}
print("PROBE", json.dumps(values))
os._exit(0)
"""

TEXTS: dict[str, tuple[str, dict[str, int]]] = {
    "plain": ("processes = 3", {"processes": 3}),
    "comment": ("processes = 3 ; three", {"processes": 3}),
    "unit": ("processes = 3x", {"processes": 3}),
    "sign": ("processes = +3", {"processes": 3}),
    "no-digits": ("processes = three", {"processes": 0}),
    "hexadecimal": ("processes = 0x3", {"processes": 0}),
    "quoted": ('processes = "3"', {"processes": 0}),
    "last-wins": ("processes = 3\nworkers = 2", {"processes": 2}),
    "cut-at-16-bits": ("buffer-size = 100000", {"buffer-size": 65535}),
    "default": ("need-app = true", {"processes": 1, "buffer-size": 4096}),
    "true": ("master = true", {"master": True}),
    "empty": ("master =", {"master": True}),
    "false": ("master = FALSE", {"master": False}),
    "off": ("master = Off", {"master": False}),
    "misspelt": ("master = flase", {"master": True}),
    "false-and-comment": ("master = false ; off", {"master": True}),
    "zeroes": ("master = 00", {"master": True}),
    "by-another-option": ("forkbomb-delay = 0", {"master": True}),
    "but-switched-off": ("forkbomb-delay = 0\nmaster = no", {"master": False}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_value_in_force(name: str, tmp_path: Path) -> None:
    text, expected = TEXTS[name]
    (tmp_path / "probe.py").write_text(PROBE)
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\n{text}\n")
    uwsgi = find_uwsgi()
    assert uwsgi
    socket = f"{tmp_path}/s"
    done = subprocess.run(
        [uwsgi, "--ini", "uwsgi.ini", "--socket", socket, "--pythonpath", str(tmp_path), "--module", "probe"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("PROBE ")]
    assert answers, done.stderr
    real = json.loads(answers[0].removeprefix("PROBE "))
    table = load_options()
    settings = Settings(Reader(table, {}, tmp_path).read("uwsgi.ini"), table)
    ours = {
        "processes": settings.number("processes"),
        "buffer-size": settings.number("buffer-size"),
        "master": settings.has_master(),
    }
    assert {key: real[key] for key in expected} == expected
    assert {key: ours[key] for key in expected} == expected


HOOK = "hook-master-start = unix_signal:15 gracefully_kill_them_all"
# What the master's log says after SIGTERM, and the code that says it here.
TERM = {
    "default": ("", "brutally killing workers", "sigterm-reloads"),
    "die": ("die-on-term = true", "SIGINT/SIGTERM received...killing workers", "die-on-term"),
    "hook": (HOOK, "graceful shutdown triggered", None),
    "hook-and-die": (f"{HOOK}\ndie-on-term = true", "graceful shutdown triggered", None),
    # uWSGI splits the value at the blank behind the sign.
    "hook-behind-a-sign": (HOOK.replace(" grace", "\t# grace"), "graceful shutdown triggered", None),
}


@pytest.mark.parametrize("name", TERM)
def test_what_sigterm_does(name: str, tmp_path: Path, findings_in: Callable[..., list[Finding]]) -> None:
    lines, words, code = TERM[name]
    text = f"[uwsgi]\nmaster = true\nsocket = s\nmax-fd = 256\n{lines}\n"
    codes = {finding.code for finding in findings_in(text)} & {"sigterm-reloads", "die-on-term", "hook-fails"}
    assert codes == ({code} if code else set())
    uwsgi = find_uwsgi()
    assert uwsgi
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [uwsgi, "--ini", "uwsgi.ini"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(log, "(master-start)" if "hook" in name else "spawned uWSGI worker 1")
        process.send_signal(signal.SIGTERM)
        _wait_for(log, words)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(log: Path, words: str) -> None:
    for _ in range(400):
        if words in log.read_text(errors="replace"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{words!r} is not in {log.read_text(errors='replace')[-500:]}")
