"""Sends the requests of one measuring process: a first round of the given length, then more until the verdict is
sure."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from lowtide.tools.diagnose.request import Application, Request
from lowtide.tools.diagnose.trend import LIMITS

# Each further round makes the run FACTOR times as long, and looks at memory LOOKS times. It does not look after each
# request, because collecting garbage takes milliseconds.
FACTOR = 4
LOOKS = 40
# With this fraction of the golden ratio the distances between two looks vary, so that they never coincide with the
# period in which an application prunes something.
_GOLDEN = 0.6180339887


class CannotRun(Exception):
    """The diagnosis cannot be made; the message says why, in one line, and what to do."""


@dataclass(frozen=True)
class Job:
    """What to run: `times` measured requests after `warm_up` others, and more while the verdict is not sure.

    Attributes:
        result: the file to write, as JSON.
        at_most: the highest number of measured requests, even if the verdict is not sure.
        patience_s: seconds after which no further round begins or continues.
        explained: for the measurement without tracing, by how many bytes a request the live heap is known to grow.
        progress: a descriptor to write lines of progress to; 0 for none.
    """

    app: str
    request: Request
    times: int
    warm_up: int
    result: str = ""
    at_most: int = 0
    patience_s: float = 0
    explained: float = 0
    progress: int = 0


class Rounds:
    """Sends the requests of `job`; `number` is that of the last one, warm-up included."""

    def __init__(self, job: Job, application: Application) -> None:
        self.job = job
        self.number = 0
        self.statuses: Counter[str] = Counter()
        self._application = application
        self._began = time.monotonic()
        self._until = job.warm_up + job.times

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def _send(self) -> None:
        self.number += 1
        try:
            self.statuses[self.job.request.send(self._application, self.number)] += 1
        except Exception as error:
            if self.number == 1:
                raise CannotRun(f"the application raised {one_line(error)}") from error
            self.statuses[one_line(error)] += 1

    def first(self) -> Iterator[int]:
        """Send the first round; yields after each request."""
        while self.number < self._until:
            self._send()
            yield self.number

    def further(self, what: str) -> Iterator[int]:
        """Send one more round because of `what`; yields after each request at which to look at memory.

        Yields nothing if a limit of the job is reached. The caller may stop at any time.
        """
        limit = self.job.warm_up + self.job.at_most
        measured = self.number - self.job.warm_up
        outlasts = LIMITS.outlasts if measured < LIMITS.outlasts else limit
        self._until = min(limit, self.job.warm_up + min(measured * FACTOR, outlasts))
        span, start = self._until - self.number, self.number
        if span <= 0 or self.seconds >= self.job.patience_s:
            return
        until = self._until - self.job.warm_up
        self.say(f"{what} after {measured} requests and {self.seconds:.0f} s: going on to {until} requests")
        looks = {start + int(span * (look + look * _GOLDEN % 1) / LOOKS) + 1 for look in range(LOOKS)}
        while self.number < self._until:
            self._send()
            late = self.seconds >= self.job.patience_s
            if self.number in looks or self.number == self._until or late:
                yield self.number
            if late:
                return

    def again(self, count: int) -> None:
        """Send `count` more requests without looking at memory."""
        for _ in range(count):
            self._send()

    def say(self, line: str) -> None:
        if self.job.progress:
            os.write(self.job.progress, f"lowtide diagnose: {line}\n".encode())


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
