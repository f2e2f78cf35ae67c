"""The options that uWSGI knows: their names, the types of their arguments, and the release in which each appeared.

tests/lowtide/tools/check/make_data.py makes the data, `options.json`, from uWSGI's sources.
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
# Options whose value is a command, a template or a text for people, where `;`, `#`, quotes and %(...) are allowed.
_FREE_TEXT = re.compile(
    r"""(exec|hook|call|cron|unique-cron|attach|smart-attach|legion|alarm|route|final-route|error-route|response-route|
    log-format|logformat|logger|log-encoder|log-req-encoder|req-logger|print|iprint|env$|declare-option|set$|set-p|eval|
    add-header|cache2|subscribe|metric|touch-exec|vassals|emperor-wrapper|static-expires|log-route|log-filter|
    log-drain|mount|umount|file-write|worker-exec|pyargv|stats-push|threaded-logger)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Known:
    """One option of uWSGI's tables.

    `kind` is how uWSGI reads the value: as a number, a switch, a string, or "other". `argument` is "no", "required" or
    "optional". An `immediate` option is applied while the file is read, before variables are expanded. An option that
    `wants_master` switches the master on. `target` is the C variable that the option sets; aliases set the same one.
    `since` is the release in which it appeared; None if it is older than the data.
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

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.version: str = data["uwsgi"]
        self.short: dict[str, str] = data["short"]
        self.plugins, self.hooks, self.handlers = (frozenset(data[name]) for name in ("plugins", "hooks", "handlers"))
        self.names = {
            name: Known(name, kind, argument, "i" in flags, "m" in flags, target, since)
            for name, (kind, argument, flags, target, since) in data["options"].items()
        }
        self._aliases: dict[str, list[str]] = {}
        for option in self.names.values():
            if option.target and option.kind in SCALARS:
                self._aliases.setdefault(option.target, []).append(option.name)

    def get(self, name: str) -> Known | None:
        return self.names.get(name)

    def aliases(self, name: str) -> list[str]:
        """All names of the option `name`, itself included; for example processes and workers."""
        known = self.names.get(name)
        return self._aliases.get(known.target or "", [name]) if known else [name]

    def nearest(self, name: str) -> str | None:
        """The known option that is most similar to `name`; None if none is similar."""
        spelt = name.strip().lstrip("-").replace("_", "-").lower()
        if spelt in self.names:
            return spelt
        if len(spelt) > 60:
            return None
        # The first words must be similar too: nobody who writes log-buffering means post-buffering.
        near = difflib.get_close_matches(spelt, self.names, n=3, cutoff=0.8)
        first = spelt.partition("-")[0]
        return next((n for n in near if difflib.get_close_matches(first, [n.partition("-")[0]], cutoff=0.6)), None)


def is_free_text(name: str) -> bool:
    return bool(_FREE_TEXT.match(name))


def complete(name: str, names: Iterable[str]) -> str:
    """The full name for an abbreviated one, as getopt_long and argparse find it: the only one that starts with it."""
    full = [known for known in names if known.startswith(name)]
    return full[0] if len(full) == 1 else name


@cache
def load_options() -> OptionTable:
    return OptionTable(json.loads(DATA.read_text(encoding="utf-8")))


def version_key(version: str) -> tuple[int, ...]:
    """`2.0.25.1` as (2, 0, 25, 1); text behind the digits (`-dev`, `.post1`) is dropped."""
    digits = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in digits.group().split(".")) if digits else ()
