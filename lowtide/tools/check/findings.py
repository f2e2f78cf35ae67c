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
    """One thing to know about a configuration.

    `written` is the text in the file and `effective` what the server works with; both None where no value is
    concerned. `line` counts from 1; 0 is the environment. `message` says what the server does and why that matters,
    `instead` what to write. `fixes` is what --fix puts in the place of which lines; without any it is left to people.
    `weight` orders the text: what ends the server before what merely looks odd.
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
    """`target` as given on the command line, `file` the one read first, `compared` one sentence about the real uWSGI,
    `fixed` lines rewritten."""

    target: str
    file: str
    findings: list[Finding]
    compared: str
    fixed: int = 0

    @property
    def exit_code(self) -> int:
        """0: nothing above a note. 1: findings."""
        return int(any(finding.level > Level.NOTE for finding in self.findings))
