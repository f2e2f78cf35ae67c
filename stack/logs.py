"""`make logs`: lines of JSON are made readable for a terminal; to a file or a pipe they go as they are."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# Escape sequences in a line could change the terminal; a client chooses some of what is logged.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Compose writes this before some lines, also into a pipe and with --ansi=never.
ERASE = "\033[2K"
_COLOURS = {"error": 31, "critical": 31, "warning": 33, "debug": 2}
# Where a line comes from: Compose writes it before each line, tail once before the lines of a file.
_PREFIX = re.compile(r"(?P<source>[\w.-]+ +\| )?(?P<line>.*)", re.DOTALL)
_FILE = re.compile(r"==> (?:.*/)?(?P<name>\S+)\.log <==")


def readable(line: str, colours: bool) -> str:
    """One line for a terminal: time, level, id of the request and what happened first, then all else as NAME=VALUE."""
    match = _PREFIX.fullmatch(line)
    source, text = (match["source"] or "", match["line"]) if match else ("", line)
    try:
        entry = json.loads(text)
        when = time.strftime("%H:%M:%S", time.localtime(entry.pop("time")))
        event = str(entry.pop("event"))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError):
        return _CONTROL.sub("?", line)
    level = str(entry.pop("level", "info"))
    first = {
        "request": ("method", "uri", "status"),
        "log": ("logger", "message"),
    }.get(event, ("method", "route", "status", "reason"))
    words = [] if event in ("request", "log") else [event]
    words += [str(entry.pop(name)) for name in first if name in entry]
    below = [str(entry.pop(name)) for name in ("exception", "stack") if name in entry]
    rest = [f"{name}={value}" for name, value in entry.items() if value not in ("", "-")]
    shown = _CONTROL.sub("?", "\n".join([" ".join([when, f"{level.upper():7}", *words, *rest]), *below]))
    colour = _COLOURS.get(level)
    return f"{source}\033[{colour}m{shown}\033[0m" if colours and colour else source + shown


def readable_lines(lines: list[str]) -> list[str]:
    """Lines of a log for a message; one with a traceback becomes several."""
    return "\n".join(readable(line, colours=False) for line in lines).split("\n") if lines else []


def show(command: Sequence[str], env: Mapping[str, str], folder: Path) -> int:
    """Run a command that prints lines of logs, until it ends or Ctrl-C. Returns its exit code."""
    terminal, colours, source = sys.stdout.isatty(), not os.environ.get("NO_COLOR"), ""
    with subprocess.Popen(
        command, env=env, cwd=folder, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as printing:
        try:
            for line in map(str.rstrip, printing.stdout or ()):
                line = line.removeprefix(ERASE)
                if not terminal:
                    print(line, flush=True)
                elif file := _FILE.fullmatch(line):
                    source = f"{file['name']:11} | "
                elif line:
                    print(readable(source + line, colours), flush=True)
        except BrokenPipeError:
            # Whoever reads has seen enough; Python would complain again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        finally:
            printing.terminate()
    return printing.returncode
