"""Standard error that never waits. Where nobody reads its pipe, a line is dropped and counted; serving goes on.

    {"event": "log-dropped", "time": 1700000000.0, "pid": 41, "lines": 17}

is written by each process as soon as there is room again. uWSGI's own lines are dropped in silence. A text is at most
LONGEST bytes long: whoever chooses a path or a header must not fill the log with it.
"""

import io
import json
import os
import stat
import sys
import time

LONGEST = 16 * 1024
# A pipe takes so much as a whole or not at all (pipe(7), PIPE_BUF).
_PIECE = 4096
_CUT = b" ... cut\n"


class Lines(io.TextIOBase):
    """A text stream over a descriptor that must not block, line by line."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._dropped = 0
        self._line = ""

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # print() writes a line and its end apart; other processes write to the same pipe.
        self._line += text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def flush(self) -> None:
        data, self._line = self._line.encode("utf-8", "backslashreplace"), ""
        if len(data) > LONGEST:
            data = data[: LONGEST - len(_CUT)] + _CUT
        try:
            if data and self._dropped:
                line = {"event": "log-dropped", "time": round(time.time(), 3), "pid": os.getpid()}
                os.write(self._descriptor, json.dumps(line | {"lines": self._dropped}).encode() + b"\n")
                self._dropped = 0
            for start in range(0, len(data), _PIECE):
                os.write(self._descriptor, data[start : start + _PIECE])
        except OSError:
            # Full, or its reader has gone: there is nobody to tell.
            self._dropped += 1


def never_block() -> None:
    """Have standard output and standard error of this process and its children drop what nobody reads."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        # A file takes everything, and a terminal is shared with the shell.
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
            setattr(sys, name, Lines(descriptor))
