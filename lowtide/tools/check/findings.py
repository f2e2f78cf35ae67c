"""What a rule reports, and the result of one run for the output modules."""

from dataclasses import dataclass
from enum import IntEnum

Fixes = tuple[tuple[int, tuple[str, ...]], ...]


class Level(IntEnum):
    """note: nothing to fix. warning: likely not what was meant. error: the server does something else than written."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One fact about a configuration that its author should know.

    `written` is the value in the file and `effective` the value that the server uses; both are None if the finding is
    not about a value. `line` counts from 1; 0 is the environment. `message` says what the server does and why that
    matters, `instead` what to write. `fixes` are line numbers and the lines that --fix writes there; empty if it cannot
    fix it. `weight` orders the output, so that what stops the server comes before what only looks odd.
    """

    level: Level
    file: str
    line: int
    option: str | None
    written: str | None
    effective: str | None
    message: str
    instead: str
    fixes: Fixes = ()
    code: str = ""
    docs: str = ""
    weight: int = 0


@dataclass(frozen=True)
class Report:
    """The result of one run. `target` is as given on the command line, `file` is the file that was read first,
    `compared` is a sentence about the comparison with a real uWSGI, and `fixed` is how many lines were rewritten."""

    target: str
    file: str
    findings: list[Finding]
    compared: str
    fixed: int = 0

    @property
    def exit_code(self) -> int:
        """0: nothing above a note. 1: findings."""
        return int(any(finding.level > Level.NOTE for finding in self.findings))
