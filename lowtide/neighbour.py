"""Lets the page of metrics read the processes of the application's container from a container of its own.

Two containers can share one table of processes (`pid: service:app` in Compose). Then the page would end with the
application's container, and Docker would not start it again: a start fails while the other container does not run, and
Docker tries it once. So each has a table of its own, and the health check, which Docker runs in the application's
container every few seconds, sends a descriptor of that container's /proc to RUN_DIR/proc.sock. The kernel lets the page
read there what it lets it read of its own user's processes.
"""

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from lowtide import memory

_SOCKET = "proc.sock"


def give(run_dir: str) -> None:
    """Send this container's /proc to the page of metrics, if there is one."""
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as page:
        # A health check does not wait for the page.
        page.setblocking(False)
        page.connect(f"{run_dir}/{_SOCKET}")
        proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        try:
            socket.send_fds(page, [b"/proc"], [proc])
        finally:
            os.close(proc)


def take(run_dir: Path) -> None:
    """From now on read processes in the /proc that is sent to RUN_DIR/proc.sock; until one comes there are none.

    Raises:
        OSError: there cannot be a socket.
    """
    path = run_dir / _SOCKET
    path.unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    # Only the application's user, which is this process's too.
    path.chmod(0o600)
    # A folder without processes.
    current = os.open("/", os.O_PATH | os.O_CLOEXEC)
    memory.proc = _below(current)
    threading.Thread(target=_receive, args=(receiver, current), daemon=True).start()


def _receive(receiver: socket.socket, current: int) -> None:
    while True:
        _, received, _, _ = socket.recv_fds(receiver, 16, 1)
        for descriptor in received:
            keep_newer(current, descriptor)


def keep_newer(current: int, received: int) -> None:
    """Close a descriptor of /proc; before that let `current` be it, if its container was started later.

    While one container takes the place of another, both send theirs.
    """
    if _started(received) > _started(current):
        os.dup2(received, current, inheritable=False)
    os.close(received)


def _below(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _started(proc: int) -> int:
    """When a container's first process was started, in ticks since the machine's start; -1 when it has ended."""
    ticks = memory.started_ticks(1, _below(proc))
    return -1 if ticks is None else ticks
