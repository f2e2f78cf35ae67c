"""What a rule reports."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """note: nothing to fix. warning: likely not what was meant. error: uWSGI does something else than written."""

    NOTE = 0
    WARNING = 1
    ERROR = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing to know about a configuration.

    `written` is the text in the file and `effective` what uWSGI works with; both None where no value is concerned.
    `line` counts from 1; 0 is the environment. `message` says what uWSGI does and why that matters, `instead` what to
    write. `fix` is what --fix puts in the place of the line; None leaves it to people.
    """

    code: str
    level: Level
    file: str
    line: int
    option: str | None
    written: str | None
    effective: str | None
    message: str
    instead: str
    docs: str
    fix: tuple[str, ...] | None = None
