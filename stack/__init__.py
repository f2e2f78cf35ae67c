"""Starts, stops, asks and follows the stack, in either runtime: `python -m stack`, or the objects Local and Docker."""

from collections.abc import Sequence
from typing import Protocol


class Stack(Protocol):
    """What both runtimes can do. Each raises Failed where it could not."""

    def up(self) -> str:
        """Prepare, start and wait; what to tell the user."""
        ...

    def down(self) -> str:
        """Stop; what to tell the user."""
        ...

    def logs(self) -> int: ...
    def run(self, command: Sequence[str]) -> int:
        """The exit code of a command where the application runs, with the terminal."""
        ...

    def output(self, command: Sequence[str]) -> str:
        """What a command prints there, apart from the terminal's Ctrl-C."""
        ...

    def kill(self, pids: Sequence[int]) -> None:
        """End processes of the server at once."""
        ...


class Failed(Exception):
    """The stack could not do what it was told; the message says why and what to do."""
