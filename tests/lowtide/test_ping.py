"""The health check asks for the application's own path, and loads little, because it runs every few seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

from lowtide import application, ping


def test_it_asks_for_the_applications_own_path() -> None:
    described = application.read()
    assert [ping.own(path) for path in ("/healthz", "/readyz", "/other")] == [described.live, described.ready, "/other"]


def test_without_a_description_the_path_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APP_DIR", raising=False)
    assert ping.own("/healthz") == "/healthz"


@pytest.mark.parametrize(
    ("content", "said"), [('ready = "/up"\n', "has no key live"), ("live = /up\n", "Invalid value")]
)
def test_a_mistake_in_the_description_is_said(
    content: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / application.NAME).write_text(content)
    monkeypatch.setenv("APP_DIR", str(tmp_path))
    assert ping.main(["/healthz", str(tmp_path / "small.sock")]) == 1
    assert said in capsys.readouterr().err


def test_it_does_not_load_what_takes_longer_than_the_check() -> None:
    program = "import sys, lowtide.ping; print(*sorted(name for name in sys.modules if name.startswith('lowtide.')))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "lowtide.ping" in loaded
    assert not {"lowtide.application", "lowtide.start", "lowtide.give_back"} & set(loaded), loaded
