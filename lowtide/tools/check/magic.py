"""The %x variables, which uWSGI replaces in a file's text before it reads the lines (core/uwsgi.c:1045-1174)."""

import grp
import os
import pwd
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

DEFINED = frozenset("%([vhtTVkuUgGbopdscenxij0123456789ODPSCENXIJ")
# Variables whose value differs from one start to the next, or that only uWSGI knows; a comparison skips them.
UNSTABLE = frozenset("tTijIJbVk")
# A text's lines, each with the number of the source line where it starts.
Lines = list[tuple[int, str]]


class MagicTable:
    """The values of the %x variables. A letter without a value becomes empty text, so `%z` disappears
    (core/utils.c:1853)."""

    def __init__(self, cwd: Path, version: str) -> None:
        user, group = os.getuid(), os.getgid()
        self._cwd = cwd
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
        """Set the variables of this file (uWSGI's config_magic_table_fill). Capital letters keep the first file's."""
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
        for letter in "odspcenx":
            self._values.setdefault(letter.upper(), own[letter])

    def reuse(self, section: str) -> None:
        """Set the variables for `ini = :section`, which keeps those of the file before it, even of a YAML file."""
        self._values.update({"o": "", "x": section})

    def __getitem__(self, letter: str) -> str:
        return self._values.get(letter, "")


def _name(look_up: Callable[[], str], number: int) -> str:
    try:
        return look_up()
    except KeyError:
        return str(number)


def expand_magic(text: str, table: MagicTable) -> tuple[Lines, list[int]]:
    """The text with the %x variables replaced, as uWSGI's magic_sub does (core/utils.c:1823), and the numbers of the
    source lines that end in a single `%`, which removes the line's end too."""
    lines: Lines = []
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
    return lines, swallowed
