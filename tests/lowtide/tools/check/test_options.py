"""options.json is made from uWSGI's sources, servers.json from the servers that are installed here."""

import json
from pathlib import Path

from lowtide.tools.check.options import DATA, load_options, version_key
from tests.lowtide.tools.check.make_data import build, servers

CORE = """
static struct uwsgi_option uwsgi_base_options[] = {
	{"processes", required_argument, 'p', "spawn, {\\"n\\"}", uwsgi_opt_set_int, &uwsgi.numproc, 0},
	{"workers", required_argument, 'p', "spawn", uwsgi_opt_set_int, &uwsgi.numproc, 0},
	{"strict", no_argument, 0, "strict", uwsgi_opt_true, &uwsgi.strict, UWSGI_OPT_IMMEDIATE},
	{"ini", required_argument, 0, "load", uwsgi_opt_load_ini, NULL, UWSGI_OPT_IMMEDIATE},
	%s
	{0, 0, 0, 0, 0, 0, 0}
};
"""
NEW = '{"stats-new", optional_argument, 0, "new", uwsgi_opt_set_str, &uwsgi.s, UWSGI_OPT_MASTER|UWSGI_OPT_METRICS},'
PLUGIN = '\t{"py-import", required_argument, 0, "import", uwsgi_opt_add_string_list, &up.import_list},\n'


def source(folder: Path, version: str, more: str) -> Path:
    (folder / "core").mkdir(parents=True)
    (folder / "plugins" / "python").mkdir(parents=True)
    (folder / "uwsgiconfig.py").write_text(f"uwsgi_version = '{version}'\n")
    (folder / "core" / "uwsgi.c").write_text(CORE % more)
    (folder / "plugins" / "python" / "python_plugin.c").write_text(PLUGIN)
    return folder


def test_build_reads_types_flags_and_releases(tmp_path: Path) -> None:
    old = source(tmp_path / "old", "2.0.9", "")
    new = source(tmp_path / "new", "2.0.10", NEW)
    data = json.loads(build([new, old]))
    assert data == {
        "uwsgi": "2.0.10",
        "short": {"p": "processes"},
        "plugins": [],
        "hooks": [],
        "handlers": [],
        "options": {
            "ini": ["load", "required", "i", None, None],
            "processes": ["int", "required", "", "uwsgi.numproc", None],
            "py-import": ["other", "required", "", "up.import_list", None],
            "stats-new": ["string", "optional", "m", "uwsgi.s", "2.0.10"],
            "strict": ["true", "no", "i", "uwsgi.strict", None],
            "workers": ["int", "required", "", "uwsgi.numproc", None],
        },
    }


def test_releases_are_ordered_as_numbers() -> None:
    assert version_key("2.0.9") < version_key("2.0.10") < version_key("2.0.25.1") < version_key("2.0.30.post1") < (2, 1)


def test_the_nearest_name() -> None:
    table = load_options()
    assert table.nearest("max_requests") == "max-requests"
    assert table.nearest("--Master") == "master"
    assert table.nearest("proceses") == "processes"
    assert table.nearest("colour-of-the-sky") is None
    assert table.nearest("max-requests" * 9) is None


def test_the_other_servers_settings_are_those_of_the_installed_ones() -> None:
    assert DATA.with_name("servers.json").read_text() == servers()
