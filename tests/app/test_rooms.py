"""Only app/, its tests and the docs know the sample application, so that a fork can replace all of it."""

import re
import subprocess

from tests.machine import CHECKOUT

WORDS = re.compile(r"catalog|\bproducts\b|\bsku\b|IMPORT_TOKEN", re.IGNORECASE)
OWN = ("app/", "tests/app/", "docs/", "README.md", "CHANGELOG.md")
# The application that a fork begins with has a token of the same name, and nothing else of this one.
SKELETON = "skeleton/"
TOKEN = "IMPORT_TOKEN"
# Configurations of other people, kept as they wrote them, and applications of other people that are diagnosed.
FOREIGN = (
    "tests/lowtide/tools/check/public.txt",
    "tests/lowtide/tools/check/published/",
    "tests/lowtide/tools/diagnose/real",
)


def test_no_other_file_knows_the_sample_application() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    mentions = []
    for name in listed.stdout.split("\0"):
        path = CHECKOUT / name
        if not name or name.startswith((*OWN, *FOREIGN)) or not path.is_file():
            continue
        if WORDS.search(name):
            mentions.append(name)
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if WORDS.search(line.replace(TOKEN, "") if name.startswith(SKELETON) else line):
                mentions.append(f"{name}:{number}: {line.strip()[:120]}")
    assert mentions == []
