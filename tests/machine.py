"""What tests need of the machine: the checkout, a free port, processor time, the way to the package index, an end of
processes."""

import os
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lowtide import memory
from stack import own

CHECKOUT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port that is free and stays so: below 32768 the kernel gives none to a connection or to port 0."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def processor_seconds(call: Callable[[], object]) -> float:
    """Processor time of the fastest of five calls."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def kill_tree(pid: int) -> None:
    """Kill a process and its descendants, those that end meanwhile excepted."""
    for member in memory.tree(pid):
        with suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def with_package_index() -> dict[str, str]:
    """The variables with which a command reaches the package index as this environment does, and nothing else of it."""
    allowed = re.compile(f"{own.MACHINE.pattern}|(PIP|UV)_.*")
    return {name: value for name, value in os.environ.items() if allowed.fullmatch(name)}
