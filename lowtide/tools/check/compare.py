"""Compare this package's reading of a configuration with that of a real uWSGI.

`--show-config` prints the options as loaded, and a clock that does not exist makes uWSGI exit right after it
(core/uwsgi.c:2374-2397), before it opens a socket or loads an application. What acts earlier than that (commands,
plugins, log files, signals to other servers) keeps a configuration from being compared at all.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lowtide.tools.check.magic import UNSTABLE
from lowtide.tools.check.reader import Option, Reading

TIMEOUT_S = 10
_CLOCK = "lowtide-stops-here"
_ACTS = re.compile(
    r"(exec|call|hook|mount|umount)-asap|daemonize|logto|logger|req-logger|log-syslog|log-rsyslog|rsyslog|log-socket|"
    r"log-master|log-date|logdate|threaded-logger|plugin|need-plugin|dlopen|(stop|reload|pause|suspend|resume|python|py|get|clock)$|flock|"
    r"immediate-|extract|connect-and-read|signal|exit|build-plugin|pyrun|pyshell|wait-for|early-envdir|envdir|chroot|"
    r"file-write|cflags|dot-h|config-py|help|usage|version|python-version|binary-append|print|iprint|resolve|never-swap|"
    r"umask|ini-paste|declare-option|show-config"
)


@dataclass(frozen=True)
class Comparison:
    """What came of it. `version` is the uWSGI asked. `differences` are pairs (ours, uWSGI's) of option texts,
    `refusal` is what uWSGI said when it exited before, `skipped` why it was not asked."""

    version: str | None = None
    compared: int = 0
    differences: tuple[tuple[str, str], ...] = ()
    refusal: str | None = None
    skipped: str | None = None

    def sentence(self) -> str:
        """One line for people."""
        if self.skipped:
            return f"Not compared with a real uWSGI: {self.skipped}."
        if self.refusal:
            return f"uWSGI {self.version} refuses this configuration: {self.refusal}"
        if self.differences:
            return f"uWSGI {self.version} reads {len(self.differences)} of {self.compared} options otherwise."
        return f"uWSGI {self.version} loads the same {self.compared} options; it was not asked to start with them."


def find_uwsgi() -> Path | None:
    """The uwsgi beside this Python, else the first on PATH."""
    beside = Path(sys.executable).with_name("uwsgi")
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("uwsgi")
    return Path(found) if found else None


def uwsgi_version(uwsgi: Path) -> str | None:
    """What `uwsgi --version` prints, None when it does not run."""
    try:
        done = subprocess.run([uwsgi, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def load_with(uwsgi: Path, target: str, environ: Mapping[str, str], cwd: Path) -> tuple[list[str] | None, str]:
    """The options that uWSGI loads from `target` as `name = value` texts, and all its output; None when it exited
    before.

    Raises OSError or subprocess.TimeoutExpired.
    """
    suffix = Path(target.partition(":")[0]).suffix
    option = {".yml": "--yaml", ".yaml": "--yaml", ".xml": "--xml", ".json": "--json"}.get(suffix, "--ini")
    done = subprocess.run(
        [uwsgi, "--show-config", "--clock", _CLOCK, option, target],
        env=dict(environ),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
        check=False,
    )
    try:
        output = done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        output = done.stdout.decode("latin-1")
    _, start, rest = output.partition(";uWSGI instance configuration\n[uwsgi]\n")
    body, end, _ = rest.partition(";end of configuration\n")
    if not start or not end:
        return None, output
    ours = {"show-config = true", f"clock = {_CLOCK}", f"{option[2:]} = {target}"}
    return [line for line in body.split("\n")[:-1] if line not in ours], output


def as_text(option: Option) -> str:
    """The option as uWSGI's --show-config prints it."""
    return f"{option.name} = {option.value}"


def compare(uwsgi: Path, target: str, reading: Reading, environ: Mapping[str, str], cwd: Path) -> Comparison:
    """Ask `uwsgi` for its reading of `target` and set it beside ours."""
    for option in reading.options:
        if _ACTS.match(option.name):
            return Comparison(skipped=f"`{option.name}` would act on this machine")
    if any(problem.kind in ("include-not-read", "template") for problem in reading.problems):
        return Comparison(skipped="the configuration is not whole: it is a template, or reads from elsewhere")
    version = uwsgi_version(uwsgi)
    if version is None:
        return Comparison(skipped=f"{uwsgi} does not run")
    try:
        loaded, output = load_with(uwsgi, target, environ, cwd)
    except (OSError, subprocess.TimeoutExpired):
        return Comparison(skipped=f"{uwsgi} does not answer")
    if loaded is None:
        lines = [line for line in output.splitlines() if line and not line.startswith("[uWSGI] getting")]
        return Comparison(version, refusal=lines[-1] if lines else "it gives no reason")
    unstable = {
        (line.file, line.number) for line in reading.lines if re.search(f"%[{''.join(sorted(UNSTABLE))}]", line.source)
    }
    ours = [as_text(option) for option in reading.options]
    stable = [(option.file, option.line) not in unstable for option in reading.options]
    different = [pair for pair, same in zip(zip(ours, loaded, strict=False), stable, strict=False) if same]
    differences = [pair for pair in different if not _same(*pair)]
    if len(ours) != len(loaded):
        differences.append((f"{len(ours)} options", f"{len(loaded)} options"))
    return Comparison(version, len(loaded), tuple(differences))


def _same(ours: str, theirs: str) -> bool:
    """Equal, or cut at a blank by uWSGI itself: cron2 and its kin split their value in place before it is shown."""
    return ours == theirs or (
        ours.startswith(theirs + " ") and theirs.startswith(("cron", "unique-cron", "legion-cron"))
    )
