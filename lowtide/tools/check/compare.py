"""Compares how this package reads a configuration with how a real uWSGI reads it.

`--show-config` prints the options that uWSGI has loaded, and the name of a clock that does not exist makes it exit
right after that (core/uwsgi.c:2374-2397), before it opens a socket or loads an application. A configuration with
options that act before that point (commands, plugins, log files, signals to other servers) is not compared.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT

from lowtide.tools.check.files import decode
from lowtide.tools.check.magic import UNSTABLE
from lowtide.tools.check.reader import FORMS, Option, Reading

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
    """The result. `version` is that of the real uWSGI. `differences` are pairs of option texts (this package's,
    uWSGI's), `refusal` is what uWSGI printed if it refused the configuration, `skipped` why it was not run."""

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
    """The uwsgi in the folder of this Python, otherwise the first on PATH."""
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    uwsgi = shutil.which("uwsgi", path=os.pathsep.join(folders))
    return Path(uwsgi) if uwsgi else None


def uwsgi_version(uwsgi: Path) -> str | None:
    """What `uwsgi --version` prints, None when it does not run."""
    try:
        done = subprocess.run([uwsgi, "--version"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def load_with(uwsgi: Path, target: str, environ: Mapping[str, str], cwd: Path) -> tuple[list[str] | None, str]:
    """The options that uWSGI loads from `target`, as `name = value` texts, and all its output. The options are None if
    uWSGI exited before it printed them.

    Raises OSError or subprocess.TimeoutExpired.
    """
    option = f"--{FORMS.get(Path(target.partition(':')[0]).suffix, 'ini')}"
    words = [str(uwsgi), "--show-config", "--clock", _CLOCK, option, target]
    done = subprocess.run(
        words, env=environ, cwd=cwd, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, timeout=TIMEOUT_S, check=False
    )
    output, _ = decode(done.stdout)
    _, start, rest = output.partition(";uWSGI instance configuration\n[uwsgi]\n")
    body, end, _ = rest.partition(";end of configuration\n")
    if not start or not end:
        return None, output
    added_here = {"show-config = true", f"clock = {_CLOCK}", f"{option[2:]} = {target}"}
    return [line for line in body.split("\n")[:-1] if line not in added_here], output


def as_text(option: Option) -> str:
    """The option as uWSGI's --show-config prints it."""
    return f"{option.name} = {option.value}"


def compare(uwsgi: Path, target: str, reading: Reading, environ: Mapping[str, str], cwd: Path) -> Comparison:
    """Let `uwsgi` read `target`, and compare the result with `reading`."""
    if acts := next((option.name for option in reading.options if _ACTS.match(option.name)), None):
        return Comparison(skipped=f"`{acts}` would act on this machine")
    if any(problem.kind in ("include-not-read", "template") for problem in reading.problems):
        return Comparison(skipped="the configuration is not whole: it is a template, or reads from elsewhere")
    if (version := uwsgi_version(uwsgi)) is None:
        return Comparison(skipped=f"{uwsgi} does not run")
    try:
        loaded, output = load_with(uwsgi, target, environ, cwd)
    except (OSError, subprocess.TimeoutExpired):
        return Comparison(skipped=f"{uwsgi} does not answer")
    if loaded is None:
        lines = [line for line in output.splitlines() if line and not line.startswith("[uWSGI] getting")]
        return Comparison(version, refusal=lines[-1] if lines else "it gives no reason")
    magic = re.compile(f"%[{''.join(sorted(UNSTABLE))}]")
    unstable = {(line.file, line.number) for line in reading.lines if magic.search(line.source)}
    differences = [
        (as_text(option), text)
        for option, text in zip(reading.options, loaded, strict=False)
        if (option.file, option.line) not in unstable and not _same(as_text(option), text)
    ]
    if len(reading.options) != len(loaded):
        differences.append((f"{len(reading.options)} options", f"{len(loaded)} options"))
    return Comparison(version, len(loaded), tuple(differences))


def _same(read_here: str, loaded: str) -> bool:
    """Whether both are equal. The options of cron are too if uWSGI's ends at a blank, because it splits their value."""
    cut = loaded.startswith(("cron", "unique-cron", "legion-cron")) and read_here.startswith(loaded + " ")
    return read_here == loaded or cut
