"""The %x variables that uWSGI puts into a file's text before it looks at the lines (core/uwsgi.c:1045-1174)."""

import grp
import os
import pwd
import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DEFINED = frozenset("%([vhtTVkuUgGbopdscenxij0123456789ODPSCENXIJ")
# Values that differ from one start to the next, or that only uWSGI itself knows; a comparison skips them.
UNSTABLE = frozenset("tTijIJbVk")


class MagicTable:
    """What %x stands for; a letter without an entry stands for nothing, so `%z` disappears (core/utils.c:1853)."""

    def __init__(self, cwd: Path, version: str) -> None:
        user, group = os.getuid(), os.getgid()
        self._cwd = cwd
        self._first = True
        self._values: dict[str, str] = {
            "%": "%",
            "(": "%(",
            "[": "\033",
            "v": str(cwd),
            "h": socket.gethostname(),
            "t": str(int(time.time())),
            "T": str(int(time.time() * 1_000_000)),
            "V": version,
            "k": str(os.cpu_count() or 1),
            "u": str(user),
            "U": _name(lambda: pwd.getpwuid(user).pw_name, user),
            "g": str(group),
            "G": _name(lambda: grp.getgrgid(group).gr_name, group),
            "b": "uwsgi",
        }

    def fill(self, path: Path, target: str, section: str) -> None:
        """config_magic_table_fill: the file's own names. The capitals keep those of the first file."""
        full = path if path.is_symlink() else path.resolve()
        folder = str(full.parent).rstrip("/") + "/"
        parts = [part for part in folder.split("/") if part]
        own = {
            "o": target,
            "p": str(full),
            "d": folder,
            "s": full.name,
            "c": parts[-1] if parts else "",
            "e": full.name.rpartition(".")[2] if "." in full.name else "",
            "n": full.name.rpartition(".")[0] if "." in full.name else full.name,
            "x": section,
            **{str(number): parts[number] if number < len(parts) else "" for number in range(10)},
        }
        self._values.update(own)
        if self._first:
            self._values.update({letter.upper(): own[letter] for letter in "odspcenx"})
            self._first = False

    def reuse(self, section: str) -> None:
        """`ini = :section` keeps the names of the file before it, a YAML file included."""
        self._values.update({"o": "", "x": section})

    def __getitem__(self, letter: str) -> str:
        return self._values.get(letter, "")


def _name(look_up: Callable[[], str], number: int) -> str:
    try:
        return look_up()
    except KeyError:
        return str(number)


@dataclass
class ExpandedText:
    """Text after magic expansion: each line with the number of the source line it starts on.

    `swallowed` are the source lines whose last character is a lone `%`, which takes the line's end with it.
    """

    lines: list[tuple[int, str]]
    swallowed: list[int]


def expand_magic(text: str, table: MagicTable) -> ExpandedText:
    """magic_sub, core/utils.c:1823, with line numbers kept."""
    lines: list[tuple[int, str]] = []
    swallowed: list[int] = []
    start, pending = 1, ""
    for number, line in enumerate(text.split("\n"), start=1):
        lone = False

        def replace(match: re.Match[str]) -> str:
            nonlocal lone
            lone = lone or not match.group(1)
            return table[match.group(1)] if match.group(1) else ""

        pending += re.sub("%(.?)", replace, line)
        if lone:
            swallowed.append(number)
            continue
        lines.append((start, pending))
        start, pending = number + 1, ""
    if pending:
        lines.append((start, pending))
    return ExpandedText(lines, swallowed)
