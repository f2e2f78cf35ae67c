"""What a cache takes in the memory of the workers: the default is a copy in each, the others are shared."""

import re
from pathlib import Path

import pytest

from tests.app.test_settings import KEY, manage

SAID = re.compile(r"grew by (-?[\d.]+) MiB .* Of 40 values that another worker had stored, (\d+) were found")


def cost(tmp_path: Path, url: str) -> tuple[float, int]:
    """How many MiB two workers grew for 10 MiB of values, and how many the second found of the first."""
    environment = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3", "CACHE_URL": url}
    if url.startswith("dbcache"):
        # `migrate` makes the table of the cache.
        assert manage("migrate", "--verbosity=0", **environment).returncode == 0
    done = manage("cache_cost", "--workers=2", "--values=40", "--kib=256", **environment)
    said = SAID.search(done.stdout)
    assert said, done.stdout + done.stderr
    return float(said[1]), int(said[2])


def test_djangos_default_is_a_copy_in_each_worker(tmp_path: Path) -> None:
    grown_mb, shared = cost(tmp_path, "")
    assert grown_mb > 18
    assert shared == 0


@pytest.mark.parametrize("url", ["filecache://{}/cache", "dbcache://cache"])
def test_a_shared_cache_is_in_no_worker(url: str, tmp_path: Path) -> None:
    grown_mb, shared = cost(tmp_path, url.format(tmp_path))
    # SQLite keeps some pages in each process.
    assert grown_mb < 15
    assert shared == 40
