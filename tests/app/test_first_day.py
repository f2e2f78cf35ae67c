"""What docs/first-day.md and docs/cache.md say how to take away: without those lines the application is whole."""

import re
import shutil
from pathlib import Path

import pytest

from tests.app.test_users import manage
from tests.machine import CHECKOUT

SETTINGS, URLS = "config/settings.py", "config/urls.py"
# What each step deletes, by file.
STEPS = {
    "debug toolbar": {
        SETTINGS: r"(?m)^# `make dev` switches it on.*?\nDEBUG_TOOLBAR = .*?INTERNAL_IPS = \[[^\n]*\n",
        URLS: r"(?m)^if settings\.DEBUG_TOOLBAR:\n.*\n",
    },
    "cache": {
        SETTINGS: r"(?m)^# Cache\n.*?(?=^# Logging)",
        "lowtide.toml": r"(?m)^\[variables\.CACHE_URL\]\n(?:[^\n]+\n)+",
    },
}


@pytest.mark.parametrize("what", STEPS)
def test_it_is_taken_away_in_one_step(what: str, tmp_path: Path) -> None:
    app = tmp_path / "app"
    shutil.copytree(CHECKOUT / "app", app, ignore=shutil.ignore_patterns("__pycache__"))
    for name, lines in STEPS[what].items():
        text, cut = re.subn(lines, "", (app / name).read_text(), flags=re.DOTALL if name == SETTINGS else 0)
        assert cut == 1, name
        (app / name).write_text(text)
    done = manage(tmp_path, tmp_path / "db.sqlite3", "check", "--fail-level=WARNING")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
