"""The command on a page has the verdict that the page shows."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import described
from tests.machine import CHECKOUT

pytestmark = pytest.mark.slow

# A command, its lines joined by backslashes, and the answer below it.
SHOWN = re.compile(
    r"^    ((?:make|lowtide) diagnose.*(?:\\\n.*)*)\n\n((?:    Verdict: .*\n)(?:(?:    .*)?\n)*)", re.MULTILINE
)
CASES = [
    pytest.param(command.replace("\\\n", " "), answer, id=f"{page.name}: {command}")
    for page in sorted((CHECKOUT / "docs").glob("*.md"))
    for command, answer in SHOWN.findall(page.read_text())
]


def diagnose(command: str, folder: Path) -> str:
    """What a command says; make does not install first, and the files that it writes are in `folder`."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    words = [word.replace("feed.json", str(folder / "feed.json")) for word in shlex.split(command)]
    if words[0] == "make":
        words[1:1] = ["--old-file=setup", "--no-print-directory"]
    else:
        words += ["--picture", str(folder / "diagnose.png")]
    done = subprocess.run(
        words,
        cwd=CHECKOUT,
        env=os.environ | {"PATH": tools, "VAR_DIR": str(folder / "var")},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(("command", "answer"), CASES)
def test_the_command_says_what_the_page_shows(command: str, answer: str, tmp_path: Path) -> None:
    """The verdict, the line that allocates, and the container."""
    if "feed.json" in command:
        # A quarter of the page's records; with all of them test_diagnose.py has a test for the night.
        (tmp_path / "feed.json").write_bytes(described.large_body(tmp_path, records=2_500))
    said = diagnose(command, tmp_path)
    shown = re.findall(r"^ +(Verdict: \w+ )|(allocated at .*)|(held by +[^[ ]+)", answer, re.MULTILINE)
    assert shown
    for words in shown:
        assert "".join(words) in said, said


def test_every_command_of_the_pages_is_run() -> None:
    pages = [page.read_text() for page in (CHECKOUT / "docs").glob("*.md")]
    assert len(CASES) == sum(len(re.findall(r"^ +Verdict: ", page, re.MULTILINE)) for page in pages)
