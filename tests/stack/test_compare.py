"""Other servers and other allocators behind the same nginx, with a small load."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.measure import CannotMeasure, allocators, servers
from loadtest.measure.variants import VARIANTS
from lowtide import memory, sample
from tests.described import PAGE
from tests.machine import CHECKOUT
from tests.stack.conftest import Start
from tests.stack.test_experiment import experiment

pytestmark = pytest.mark.stack


def test_gunicorn_and_granian_work_off_the_list(tmp_path: Path) -> None:
    with experiment(tmp_path, VARIANTS="gunicorn-lowtide granian-recycle") as process:
        _, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    latest = tmp_path / "results/latest"
    summary = json.loads((latest / "summary.json").read_text())
    assert [row["server"].split()[0] for row in summary["variants"]] == ["gunicorn", "granian"]
    for row in summary["variants"]:
        assert (row["requests"], row["failures"], row["server_requests"]) == (184, 0, None)
        assert row["recycles"]["died"] == 0
        # At least as much memory as four workers that each have loaded the application.
        assert row["idle_mb"] > 60
        assert row["worker_rss_mb"] > 20
    with (latest / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["workers"] for row in rows} == {""}
    for name in ("gunicorn-lowtide", "granian-recycle"):
        counts = [int(row["requests"]) for row in rows if row["variant"] == name]
        assert (counts[0], counts[-1]) == (0, 184)
        assert counts == sorted(counts)


def here(command: list[str]) -> str:
    return subprocess.run(
        command,
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    ).stdout


@pytest.mark.parametrize("name", ["jemalloc", "mimalloc"])
def test_an_allocator_is_loaded_by_the_server_and_by_nothing_else(start: Start, name: str) -> None:
    try:
        allocators.installed(name)
    except CannotMeasure as reason:
        pytest.skip(str(reason))
    stack = start(**servers.environment(VARIANTS[name]))

    def loaded(pid: int) -> bool:
        return f"/lib{name}.so" in Path(f"/proc/{pid}/maps").read_text()

    master = sample.stats(str(stack.var / "run/stats.sock"))["pid"]
    pids = memory.tree(master)
    assert len(pids) == 5
    assert all(loaded(pid) for pid in pids)
    servers.check_preloaded(name, master, here)
    nginx = int((stack.var / "run/nginx.pid").read_text())
    assert not loaded(nginx)
    with pytest.raises(CannotMeasure, match=f"process {nginx} has not loaded it"):
        servers.check_preloaded(name, nginx, here)


def test_variables_for_malloc_reach_the_workers(start: Start) -> None:
    stack = start(**servers.environment(VARIANTS["trim-threshold"]))
    for worker in stack.workers():
        environment = Path(f"/proc/{worker['pid']}/environ").read_bytes().split(b"\0")
        assert b"MALLOC_TRIM_THRESHOLD_=131072" in environment


def test_a_server_that_speaks_http_is_answered_for_as_uwsgi_is(start: Start, feed: bytes) -> None:
    stack = start(**servers.environment(VARIANTS["gunicorn"]))
    answer = stack.get(PAGE)
    assert answer.status_code == 200
    headers = [name.lower() for name in answer.raw.headers]
    for name in ("x-frame-options", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy"):
        assert headers.count(name) == 1, name
    assert answer.headers["X-Request-ID"]
    if PAGE.endswith("/") and PAGE != "/":
        # Django redirects to the address with a slash. It must be an address of the site, whichever server is behind
        # nginx.
        location = stack.get(PAGE.removesuffix("/"), allow_redirects=False).headers["Location"]
        assert location in (PAGE, f"{stack.url}{PAGE}")
    # A body with a length, which nginx collects first, a body in chunks, and a body that is too large.
    assert stack.post_large(feed).status_code == 200
    assert stack.post_large(iter([feed])).status_code == 200
    assert stack.post_large(b" " * (33 << 20)).status_code == 413
    assert stack.get(PAGE, headers={"Host": "other.example"}).status_code == 400
