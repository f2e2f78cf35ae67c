"""The options that uWSGI knows: names, argument types, and the release in which each appeared.

The data is `options.json`, made from uWSGI's own sources by

    python -m lowtide.tools.check.options NEWEST_SOURCE_DIR [OLDER_SOURCE_DIR ...]

where each folder is one unpacked release. An option appeared in the oldest release given that has it; options that
the oldest one already has carry no release.
"""

import argparse
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("options.json")

# How uWSGI turns the text behind an option into a value, by the C function in its table (core/uwsgi.c:3943-4135).
# Every other function takes the text as it is.
KINDS = {
    "uwsgi_opt_true": "true",
    "uwsgi_opt_false": "false",
    "uwsgi_opt_set_int": "int",
    "uwsgi_opt_setup_gevent": "int",
    "uwsgi_opt_set_rawint": "rawint",
    "uwsgi_opt_set_64bit": "64bit",
    "uwsgi_opt_set_16bit": "16bit",
    "uwsgi_opt_set_megabytes": "megabytes",
    "uwsgi_opt_set_str": "string",
    "uwsgi_opt_set_str_spaced": "string",
    "uwsgi_opt_add_socket": "socket",
    "uwsgi_opt_add_socket_no_defer": "socket",
    "uwsgi_opt_add_lazy_socket": "socket",
    "uwsgi_opt_add_shared_socket": "socket",
    "uwsgi_opt_add_ssl_socket": "socket",
    "uwsgi_opt_logic": "logic",
    "uwsgi_opt_load": "load",
    "uwsgi_opt_load_ini": "load",
    "uwsgi_opt_load_yml": "load",
    "uwsgi_opt_load_config": "load",
    "uwsgi_opt_load_json": "load",
    "uwsgi_opt_load_xml": "load",
}
NUMBERS = frozenset({"int", "rawint", "64bit", "16bit", "megabytes"})
BOOLEANS = frozenset({"true", "false"})
SCALARS = NUMBERS | BOOLEANS | {"string"}


@dataclass(frozen=True)
class Known:
    """One option of uWSGI's tables.

    `kind` is a value of KINDS, or "other". `argument` is "no", "required" or "optional". `immediate` options are
    applied while the file is read, before variables are expanded. `wants_master` options switch the master on.
    `target` names the C variable that is set, which aliases share. `since` is a release, None when older than the data.
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
        found = difflib.get_close_matches(spelt, self._known, n=1, cutoff=0.8)
        return found[0] if found else None


@cache
def load_options() -> OptionTable:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    known = []
    for name, (kind, argument, flags, target, since) in data["options"].items():
        known.append(Known(name, kind, argument, "i" in flags, "m" in flags, target, since))
    return OptionTable(known, data)


_ENTRY = re.compile(r'\{\s*"([\w-]+)"\s*,\s*(no|required|optional)_argument\s*,(.*?)\}\s*(?:,|\n)', re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_FUNCTION = re.compile(r"\buwsgi_\w+\b")
_MASTER_FLAGS = ("UWSGI_OPT_MASTER", "UWSGI_OPT_LOG_MASTER", "UWSGI_OPT_REQ_LOG_MASTER")


def parse_sources(source: Path) -> dict[str, Known]:
    """Options in the tables of one unpacked uWSGI release, core first: the first entry of a name is the one used."""
    files = sorted((source / "core").glob("*.c")) + sorted((source / "plugins").glob("**/*.c*"))
    options: dict[str, Known] = {}
    for file in files:
        for name, argument, rest in _ENTRY.findall(file.read_text(encoding="utf-8", errors="replace")):
            fields = _STRING.sub('""', rest)
            function = _FUNCTION.search(fields)
            target = re.search(r"&\s*([\w.]+)", fields)
            options.setdefault(
                name,
                Known(
                    name,
                    KINDS.get(function.group() if function else "", "other"),
                    argument,
                    immediate="UWSGI_OPT_IMMEDIATE" in fields,
                    wants_master=any(flag in fields for flag in _MASTER_FLAGS),
                    target=target.group(1) if target else None,
                ),
            )
    return options


def release(source: Path) -> str:
    """The release number that a source folder states in uwsgiconfig.py."""
    found = re.search(r"uwsgi_version = '([^']+)'", (source / "uwsgiconfig.py").read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{source}/uwsgiconfig.py states no uwsgi_version")
    return found.group(1)


def version_key(version: str) -> tuple[int, ...]:
    """`2.0.25.1` as (2, 0, 25, 1); whatever follows the digits (`-dev`, `.post1`) is dropped."""
    digits = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in digits.group().split(".")) if digits else ()


def build(sources: list[Path]) -> str:
    """The text of options.json from several releases."""
    ordered = sorted(sources, key=lambda source: version_key(release(source)))
    newest = parse_sources(ordered[-1])
    appeared: dict[str, str | None] = dict.fromkeys(parse_sources(ordered[0]))
    for source in ordered[1:]:
        for name in parse_sources(source):
            appeared.setdefault(name, release(source))
    return _dump(newest, appeared, {"uwsgi": release(ordered[-1]), **parse_words(ordered[-1])})


def parse_words(source: Path) -> dict[str, Any]:
    """What else the sources list: options of one letter, the plugins of a default build, the actions of hooks, and the
    functions of one number, which unix_signal may name."""
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(source.glob("**/*.[ch]")))
    short = re.findall(r'\{\s*"([\w-]+)"\s*,\s*\w+_argument\s*,\s*\'(.)\'', text)
    base = source / "buildconf" / "base.ini"
    embedded = re.search(r"^embedded_plugins *= *(.*)$", base.read_text() if base.is_file() else "", re.MULTILINE)
    plugins = embedded[1].replace("%(main_plugin)s", "python, gevent") if embedded else ""
    return {
        "short": {letter: name for name, letter in reversed(short)},
        "plugins": sorted(re.findall(r"\w+", plugins)),
        "hooks": sorted(set(re.findall(r'uwsgi_register_hook\("(\w+)"', text))),
        "handlers": sorted(set(re.findall(r"^void (\w+)\(int\);", text, re.MULTILINE))),
    }


def _dump(newest: Mapping[str, Known], appeared: Mapping[str, str | None], words: Mapping[str, Any]) -> str:
    rows = []
    for name, option in sorted(newest.items()):
        flags = ("i" if option.immediate else "") + ("m" if option.wants_master else "")
        row = [option.kind, option.argument, flags, option.target, appeared[name]]
        rows.append(f"  {json.dumps(name)}: {json.dumps(row)}")
    body = ",\n".join(rows)
    head = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in words.items())
    return f'{{{head},\n"options": {{\n{body}\n}}}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild options.json from unpacked uWSGI releases.")
    parser.add_argument("source", type=Path, nargs="+", help="folder of one unpacked release")
    sources: list[Path] = parser.parse_args().source
    DATA.write_text(build(sources), encoding="utf-8")


if __name__ == "__main__":
    main()
