"""Lets a worker that is in the middle of a request hear a stop.

uWSGI's own handler of SIGHUP only notes that this request is the worker's last. While all workers are busy, clients in
the listen queue would then wait until the first of them is done. So Python handles the signal while a request runs; it
passes it on to uWSGI and calls a function, in which the worker answers those clients (`lowtide.waiting`).
"""

import ctypes
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def in_handler(pid: int, number: int) -> bool:
    """Whether a process is in its handler of this signal, or blocks it (proc(5), SigBlk).

    uWSGI's master stays in its handler of SIGTERM until all workers have ended (core/uwsgi.c:1321), and it is in none
    when it reloads or ends a single worker.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


class Hup:
    """Who handles SIGHUP in this worker: Python between `begin` and `end`, otherwise uWSGI.

    Make it in the main thread of a worker whose uWSGI has set its handler.
    """

    def __init__(self, told: Callable[[], object]) -> None:
        self._told = told
        self._heard = False
        self._libc = ctypes.CDLL(None)
        # Two struct sigaction, which is shorter than this; what is in them is left to libc.
        self._uwsgi, self._python = ctypes.create_string_buffer(256), ctypes.create_string_buffer(256)
        self._libc.sigaction(signal.SIGHUP, None, self._uwsgi)
        signal.signal(signal.SIGHUP, self._hear)
        self._libc.sigaction(signal.SIGHUP, None, self._python)

    def begin(self) -> None:
        if not self._heard:
            self._libc.sigaction(signal.SIGHUP, self._python, None)

    def end(self) -> None:
        self._libc.sigaction(signal.SIGHUP, self._uwsgi, None)

    def _hear(self, *_: object) -> None:
        self._heard = True
        self.end()
        os.kill(os.getpid(), signal.SIGHUP)
        self._told()
