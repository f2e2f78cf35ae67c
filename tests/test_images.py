"""`make images` pins the images by what the registries say, in every file or in none."""

import re
import shutil
from pathlib import Path

import pytest

from stack import images
from tests.machine import CHECKOUT

FIRST, SECOND = (f"sha256:{letter * 64}" for letter in "ab")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in images.FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(CHECKOUT / name, tmp_path / name)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def registry(folder: Path, script: str) -> None:
    """A `docker` that answers in the place of a registry."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def said(checkout: Path) -> dict[str, str]:
    return {name: (checkout / name).read_text() for name in images.FILES}


def test_each_image_of_others_gets_its_digest_and_a_newer_one_later(checkout: Path) -> None:
    unpinned = {name: re.sub("@sha256:[0-9a-f]{64}", "", text) for name, text in said(checkout).items()}
    for digest in (FIRST, SECOND):
        registry(checkout, f"""echo '{{"digest": "{digest}"}}'""")
        assert images.main(checkout) == 0
        pinned = said(checkout)
        assert f"debian:trixie-slim@{digest}" in pinned["Dockerfile"]
        assert f"image: postgres:17@{digest}" in pinned["docker-compose.yml"]
        # Nothing else is changed, such as stages, and images that are built here.
        assert {name: text.replace(f"@{digest}", "") for name, text in pinned.items()} == unpinned
    # A base that stands twice would be pinned twice, and one of them could be forgotten by hand.
    assert unpinned["Dockerfile"].count("debian:trixie-slim") == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'ERROR: no such host' >&2; exit 1", "no such host"),
        ("echo '{}'", "digest"),
        ("""case "$6$7" in *grafana*) exit 1;; *) echo '{"digest": "sha256:short"}';; esac""", "no digest"),
    ],
)
def test_what_nobody_can_say_changes_nothing(
    checkout: Path, capsys: pytest.CaptureFixture[str], script: str, reason: str
) -> None:
    before = said(checkout)
    registry(checkout, script)
    assert images.main(checkout) == 2
    assert said(checkout) == before
    (line,) = capsys.readouterr().err.splitlines()
    assert "nothing was changed" in line
    assert reason in line
