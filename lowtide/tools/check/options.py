"""The options that uWSGI knows: names, argument types, and the release in which each appeared.

The data is `options.json`, made from uWSGI's own sources by tests/lowtide/tools/check/make_data.py.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("options.json")

NUMBERS = frozenset({"int", "rawint", "64bit", "16bit", "megabytes"})
BOOLEANS = frozenset({"true", "false"})
SCALARS = NUMBERS | BOOLEANS | {"string"}


@dataclass(frozen=True)
class Known:
    """One option of uWSGI's tables.

    `kind` is how uWSGI turns the text into a value: a number, a switch, a string, or "other". `argument` is "no",
    "required" or "optional". `immediate` options are applied while the file is read, before variables are expanded.
    `wants_master` options switch the master on. `target` names the C variable that is set, which aliases share. `since`
    is a release, None when older than the data.
    """

    name: str
    kind: str
    argument: str
    immediate: bool = False
    wants_master: bool = False
    target: str | None = None
    since: str | None = None


class OptionTable:
    """Look-ups in uWSGI's option tables."""

    def __init__(self, known: Iterable[Known], data: Mapping[str, Any]) -> None:
        self.version: str = data["uwsgi"]
        self.short: dict[str, str] = data["short"]
        self.plugins, self.hooks, self.handlers = (frozenset(data[name]) for name in ("plugins", "hooks", "handlers"))
        self._known = {option.name: option for option in known}
        self._aliases: dict[str, list[str]] = {}
        for option in self._known.values():
            if option.target and option.kind in SCALARS:
                self._aliases.setdefault(option.target, []).append(option.name)

    def get(self, name: str) -> Known | None:
        return self._known.get(name)

    def aliases(self, name: str) -> list[str]:
        """All names that set the same variable as `name`, `name` included: processes and workers."""
        known = self._known.get(name)
        return self._aliases.get(known.target or "", [name]) if known else [name]

    def complete(self, name: str) -> str:
        """What getopt_long takes an abbreviated name for: the only option that starts with it."""
        full = [name] if name in self._known else [option for option in self._known if option.startswith(name)]
        return full[0] if len(full) == 1 else name

    def nearest(self, name: str) -> str | None:
        """The known option most like `name`, or None when nothing is like it."""
        spelt = name.strip().lstrip("-").replace("_", "-").lower()
        if spelt in self._known:
            return spelt
        if len(spelt) > 60:
            return None
        # log-buffering is no slip of the pen for post-buffering: the first words have to be alike too.
        near = difflib.get_close_matches(spelt, self._known, n=3, cutoff=0.8)
        first = spelt.partition("-")[0]
        return next((n for n in near if difflib.get_close_matches(first, [n.partition("-")[0]], cutoff=0.6)), None)


@cache
def load_options() -> OptionTable:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    known = []
    for name, (kind, argument, flags, target, since) in data["options"].items():
        known.append(Known(name, kind, argument, "i" in flags, "m" in flags, target, since))
    return OptionTable(known, data)


def version_key(version: str) -> tuple[int, ...]:
    """`2.0.25.1` as (2, 0, 25, 1); whatever follows the digits (`-dev`, `.post1`) is dropped."""
    digits = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in digits.group().split(".")) if digits else ()
