"""Make options.json from uWSGI's own sources, and servers.json from the installed gunicorn and granian:

    python tests/lowtide/tools/check/make_data.py NEWEST_SOURCE_DIR [OLDER_SOURCE_DIR ...]

where each folder is one unpacked release of uWSGI. An option appeared in the oldest release given that has it; options
that the oldest one already has carry no release.
"""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lowtide.tools.check.options import DATA, Known, version_key

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


def servers() -> str:
    """The text of servers.json: each setting of gunicorn and granian with its flags and whether they take a value."""
    from granian.cli import cli
    from gunicorn.config import KNOWN_SETTINGS  # type: ignore[import-untyped]

    switches = ("store_true", "store_const")
    gunicorn = {s.name: [list(s.cli or []), bool(s.cli) and s.action not in switches] for s in KNOWN_SETTINGS}
    flags = [option for option in cli.params if option.opts[0].startswith("-")]
    granian = {
        max(o.opts, key=len).lstrip("-"): [[*o.opts, *o.secondary_opts], not getattr(o, "is_flag", False)]
        for o in flags
    }
    tables = []
    for server, settings in (("gunicorn", gunicorn), ("granian", granian)):
        rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in settings.items())
        tables.append(f'"{server}": {{\n{rows}\n}}')
    return "{" + ",\n".join(tables) + "}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="+", help="folder of one unpacked release")
    sources: list[Path] = parser.parse_args().source
    DATA.write_text(build(sources), encoding="utf-8")
    DATA.with_name("servers.json").write_text(servers(), encoding="utf-8")


if __name__ == "__main__":
    main()
