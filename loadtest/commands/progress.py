"""What the terminal shows while something is measured."""

import math
import time

from rich import progress
from rich.console import Console
from rich.markup import escape

from loadtest.load.scenarios import Scenario
from loadtest.measure import phases

# Starting, warming up and stopping one variant, roughly.
START_S = 12
console = Console(highlight=False)


class Progress:
    """One line with a clock on a terminal. Elsewhere, in a log for example, a line for each phase and each 10 s."""

    def __init__(self) -> None:
        self.prefix = ""
        self._phase = ""
        self._printed = 0.0
        self._started = time.monotonic()
        columns = (progress.SpinnerColumn(), progress.TimeElapsedColumn(), progress.TextColumn("{task.description}"))
        self._line = progress.Progress(*columns, console=console, transient=True)
        self._task = self._line.add_task("")
        if console.is_terminal:
            self._line.start()

    def __call__(self, text: str) -> None:
        line = f"{self.prefix:<10} {text}"
        phase = f"{self.prefix} {text.split()[0]}"
        if console.is_terminal:
            self._line.update(self._task, description=escape(line))
        elif phase != self._phase or time.monotonic() - self._printed >= 10:
            clock = int(time.monotonic() - self._started)
            console.print(f"{clock // 60}:{clock % 60:02} {escape(line)}", soft_wrap=True)
            self._printed = time.monotonic()
        self._phase = phase

    def end(self) -> None:
        if console.is_terminal:
            self._line.stop()


class Left:
    """How long the rest will take, at first reckoned from the scenario, then from how long the rows before it took."""

    def __init__(self, rows: int, scenario: Scenario) -> None:
        self._rows = rows
        self._done = 0
        load_s = max(scenario.small / scenario.small_rate, scenario.large / scenario.large_rate)
        self._row_s = START_S + phases.IDLE_S + load_s + scenario.quiet_s
        self._started = time.monotonic()

    def next(self) -> str:
        """ "3 of 17, about 22 min left" for the row that begins."""
        if self._done:
            self._row_s = (time.monotonic() - self._started) / self._done
        minutes = math.ceil((self._rows - self._done) * self._row_s / 60)
        self._done += 1
        return f"{self._done} of {self._rows}, about {minutes} min left"
