"""In Docker, too, other servers and allocators are measured behind the same nginx."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import CHECKOUT, free_port

# The image of these rows is built for this test alone.
pytestmark = [pytest.mark.container, pytest.mark.night, pytest.mark.timeout(900)]


@pytest.mark.usefixtures("engine")
def test_other_servers_and_allocators_are_measured(tmp_path: Path) -> None:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    environment = kept | {"RUNTIME": "docker", "SCENARIO": "smoke small=60 large=2"}
    environment |= {"VARIANTS": "gunicorn-pools granian-recycle uvicorn-lowtide jemalloc mimalloc mmap-threshold"}
    environment |= {"LOADTEST_PORT": str(free_port()), "RESULTS_DIR": str(tmp_path), "VAR_DIR": str(tmp_path / "var")}
    done = subprocess.run(
        [sys.executable, "-m", "loadtest"], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "latest/summary.json").read_text())
    assert summary["left_out"] == {}
    servers = [row["server"] for row in summary["variants"]]
    names = ("gunicorn", "granian", "uvicorn", "with jemalloc", "with mimalloc", "uWSGI")
    for server, name in zip(servers, names, strict=True):
        assert f"{name} " in f"{server} "
    for row in summary["variants"]:
        assert (row["requests"], row["failures"], row["oom_kills"]) == (62, 0, 0)
        assert row["idle_mb"] > 60
