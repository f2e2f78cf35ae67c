"""Log output that never blocks the server. When nobody reads the pipe, a line is dropped and counted.

    {"event": "log-dropped", "time": 1700000000.0, "pid": 41, "lines": 17}

is written by each process as soon as the pipe has room again. uWSGI's own lines are dropped without such a line. A line
is cut at LONGEST bytes, so that a client cannot fill the log with a long path or header.
"""

import io
import json
import os
import stat
import sys
import time
from contextlib import suppress

LONGEST = 16 * 1024
# The kernel writes up to 4096 bytes into a pipe completely or not at all (pipe(7), PIPE_BUF). A piece is one byte less,
# so that its page has room for a line end when the pipe is too full for the next piece.
_PIECE = 4095
_CUT = b" ... cut\n"


class Lines(io.TextIOBase):
    """A text stream that writes whole lines to a non-blocking descriptor."""

    encoding = "utf-8"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._dropped = 0
        self._torn = False
        self._line = ""

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # print() writes a line and its end separately, and another process could write to the pipe in between.
        self._line += text
        if text.endswith("\n"):
            self.flush()
        return len(text)

    def flush(self) -> None:
        data, self._line = self._line.encode("utf-8", "backslashreplace"), ""
        if len(data) > LONGEST:
            data = data[: LONGEST - len(_CUT)] + _CUT
        try:
            self._end_torn_line()
            if data and self._dropped:
                line = {"event": "log-dropped", "time": round(time.time(), 3), "pid": os.getpid()}
                os.write(self._descriptor, json.dumps(line | {"lines": self._dropped}).encode() + b"\n")
                self._dropped = 0
            for start in range(0, len(data), _PIECE):
                os.write(self._descriptor, data[start : start + _PIECE])
                self._torn = start + _PIECE < len(data)
        except OSError:
            # The pipe is full or its reader has gone, so the error cannot be reported.
            self._dropped += 1
            with suppress(OSError):
                self._end_torn_line()

    def _end_torn_line(self) -> None:
        """Write the end of a line whose last pieces did not fit, so that the next line begins where a line begins."""
        if self._torn:
            os.write(self._descriptor, b"\n")
            self._torn = False


def never_block() -> None:
    """Make standard output and standard error of this process and its children drop lines instead of blocking."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        # Only pipes: a file never blocks, and a terminal that does not block would disturb the shell that shares it.
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, False)
            setattr(sys, name, Lines(descriptor))
