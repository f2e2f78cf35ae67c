"""Starts, stops and controls the stack in either runtime: `python -m stack`, or the objects Local and Docker."""

from collections.abc import Sequence
from typing import Protocol


class Stack(Protocol):
    """What both runtimes can do. Each method raises Failed when it could not do it."""

    def up(self) -> str:
        """Prepare, start, and wait until the site answers. Returns what to tell the user."""
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
