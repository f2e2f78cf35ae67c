"""Secrets that come from a file, for processes that need them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import CHECKOUT


def become(file: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "SECRETS_FILE": str(file), **variables}
    command = [sys.executable, *words]
    return subprocess.run(command, env=environment, cwd=CHECKOUT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("module", ["lowtide.environment", "lowtide.start"])
def test_a_process_that_needs_them_has_them(tmp_path: Path, module: str) -> None:
    file = tmp_path / "app"
    file.write_text(json.dumps({"SECRET_KEY": "a$b 'c'", "TOKEN": "of-the-file"}))
    told = become(file, "-m", module, "env", TOKEN="of-the-shell").stdout.splitlines()
    assert "SECRET_KEY=a$b 'c'" in told
    # What is set by hand counts, as it does for all settings.
    assert "TOKEN=of-the-shell" in told


@pytest.mark.parametrize(
    "content", ["SECRET_KEY=planted", '["planted"]', '{"SECRET_KEY": 5, "TOKEN": "planted"}', None]
)
def test_a_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "app"
    if content is not None:
        file.write_text(content)
    for words in (("lowtide.start", "true"), ("lowtide.application", "manage", "check")):
        done = become(file, "-m", *words)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"SECRETS_FILE={file} cannot be" in line
        assert "planted" not in line
