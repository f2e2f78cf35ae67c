"""Runs the application's further processes, such as workers and schedulers (`processes` in lowtide.toml):

    python -m lowtide.processes
    python -m lowtide.processes check    where this is process 1: exit code 1 while one of them does not run

Each has a process group of its own. One that ends is started again, after a second, and after up to half a minute where
it ends again and again; a line in the log says so:

    {"event": "process", "time": 1700000000.0, "name": "worker", "code": 1, "again_s": 1.0}

SIGTERM is passed on to all of them. What has not ended STOP_S later is killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress

from lowtide import application, memory
from lowtide.environment import Unreadable, read_secrets

STOPS = {signal.SIGTERM, signal.SIGINT}
# Less than Compose's and Kubernetes' grace for this container, and than supervisord's.
STOP_S = 65
LONGEST_PAUSE_S = 30.0
# A process that has run for so long is started again after a second, however often it ended before.
SETTLED_S = 60.0


class Process:
    """A process of the description, which is kept running. `due` is when it is to be started while it does not run."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], folder: str) -> None:
        self.name, self.command, self.environment, self.folder = name, command, environment, folder
        self.running: subprocess.Popen[bytes] | None = None
        self.due = self.began = time.monotonic()
        self.pause_s = 1.0

    def look(self) -> None:
        """Start it where it is due, and say so where it has ended."""
        now = time.monotonic()
        if self.running is None:
            if now >= self.due:
                self.start(now)
        elif (code := self.running.poll()) is not None:
            self.running = None
            self.ended(now, code)

    def start(self, now: float) -> None:
        self.began = now
        try:
            self.running = subprocess.Popen(
                self.command,
                env=dict(self.environment),
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=heard,
            )
        except OSError as error:
            print(f"{self.name}: {self.command[0]} cannot be started: {error.strerror}.", file=sys.stderr, flush=True)
            self.ended(now, 127)

    def ended(self, now: float, code: int) -> None:
        self.pause_s = 1.0 if now - self.began > SETTLED_S else self.pause_s
        line = {"event": "process", "time": time.time(), "name": self.name, "code": code, "again_s": self.pause_s}
        print(json.dumps(line), flush=True)
        self.due = now + self.pause_s
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)

    def send(self, number: int) -> None:
        """Send a signal to the process and to those that it has started."""
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.running.pid, number)


def heard() -> None:
    """A new process inherits which signals are blocked, and has to hear these."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def keep_running(processes: list[Process]) -> None:
    """Returns after SIGTERM or SIGINT, when all have ended."""
    # Blocked signals wait, so none is lost between two looks.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    while not signal.sigtimedwait(STOPS, 0.2):
        for process in processes:
            process.look()
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    for process in processes:
        if process.running:
            with suppress(subprocess.TimeoutExpired):
                process.running.wait(max(deadline - time.monotonic(), 0))
        process.send(signal.SIGKILL)


def all_run(wanted: int, pid: int = 1) -> bool:
    """Whether the process `pid`, which is this module, has as many children as it should keep running."""
    return len(memory.children(pid) or ()) >= wanted


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        read_secrets()
        described = application.read()
    except (application.Invalid, Unreadable) as problem:
        print(problem, file=sys.stderr)
        return 2
    if not described.processes:
        print(f"{described.file} has no [processes]: there is nothing to run.", file=sys.stderr)
        return 2
    if arguments == ["check"]:
        return 0 if all_run(len(described.processes)) else 1
    # The bound is for requests. As in manage.py, a statement of a worker may take any time.
    environment = dict(os.environ) | described.environment | {"DATABASE_TIMEOUT": "0"}
    keep_running(
        [
            Process(name, described.command(line), environment, str(described.folder))
            for name, line in described.processes.items()
        ]
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
