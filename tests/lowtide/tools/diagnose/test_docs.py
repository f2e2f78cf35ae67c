"""The command on a page has the verdict that the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[4]


def test_the_page_about_one_request_ends_at_the_line_of_code() -> None:
    page = (CHECKOUT / "docs/which-request.md").read_text()
    command = re.search(r"^    (lowtide diagnose .*)$", page, re.MULTILINE)
    assert command
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = [*command[1].split(), "--picture", ""]
    done = subprocess.run(words, cwd=CHECKOUT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    shown = re.search(r"allocated at (tests/stack/planted/planted.py:\d+)", page)
    assert shown
    assert done.stdout.startswith("Verdict: leak (confidence: high)"), done.stdout
    assert shown[1] in done.stdout
    assert "planted.held[" in done.stdout
