"""Starts, stops and controls the stack in either runtime: `python -m stack`, or the objects Local and Docker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stack.database import Database

# The folder of the repository.
CHECKOUT = Path(__file__).resolve().parents[1]


class Stack(Protocol):
    """What both runtimes can do. Each method raises Failed when it could not do it."""

    @property
    def backups(self) -> Path:
        """The folder of backups."""
        ...

    def database(self) -> Database: ...
    def migrate(self) -> int:
        """Bring the database's tables to this version, on the user's terminal. Returns the exit code."""
        ...

    def up(self) -> str:
        """Prepare, start, and wait until the site answers. Returns what to tell the user."""
        ...

    def replace(self) -> str:
        """Put the present version of the application in the place of the running one. Returns what to tell the user."""
        ...

    def down(self) -> str:
        """Stop. Returns what to tell the user."""
        ...

    def logs(self) -> int: ...
    def run(self, command: Sequence[str]) -> int:
        """Run a command where the application runs, on the user's terminal. Returns its exit code."""
        ...

    def output(self, command: Sequence[str]) -> str:
        """Run a command there, which the terminal's Ctrl-C does not reach. Returns what it prints."""
        ...

    def kill(self, pids: Sequence[int]) -> None:
        """Kill processes of the server with SIGKILL."""
        ...


class Failed(Exception):
    """The stack could not do what it was told; the message says why and what to do."""
