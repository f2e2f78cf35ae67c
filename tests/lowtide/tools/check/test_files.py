"""Whole files: published patterns get the expected findings, and correct files nothing above a note."""

import json
import os
from pathlib import Path

import pytest

from lowtide.tools.cli import main

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[3]
PUBLISHED = HERE / "published"
CORRECT = HERE / "correct"
EXPECTED: dict[str, list[str]] = json.loads((PUBLISHED / "expected.json").read_text())
# Variables that lowtide.start sets beside those of .env.
STACK = ["RUN_DIR=/run/lowtide", "SMALL_WORKER_IDS=1,2,3", "LARGE_WORKER_IDS=4"]
STACK += ["APP_DIR=/srv/lowtide/app", "WSGI_CALLABLE=config.wsgi:application"]
RELEASES = ["--uwsgi-version", "2.0.31", "--somaxconn", "4096"]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("UWSGI_") or name in ("WORKERS", "RUN_DIR", "RELOAD_ON_RSS", "WORKER_MANAGEMENT"):
            monkeypatch.delenv(name)


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, object]]]:
    code = main(["check", *RELEASES, "--format", "json", *arguments])
    output, errors = capsys.readouterr()
    assert errors == ""
    report = json.loads(output)
    assert set(report) == {"schema", "findings"}
    assert report["schema"] == 1
    return code, report["findings"]


def test_there_are_enough_published_patterns() -> None:
    files = {path.name for path in PUBLISHED.iterdir()} - {"expected.json"}
    assert files == set(EXPECTED)
    assert len(files) >= 11


@pytest.mark.parametrize("name", EXPECTED)
def test_published_pattern(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PUBLISHED)
    code, findings = check(capsys, "--no-compare", "--python-version", "3.13", name)
    assert [f"{row['line']} {row['level']} {row['code']}" for row in findings] == EXPECTED[name]
    assert code == int(any(row["level"] != "note" for row in findings))


@pytest.mark.parametrize("name", sorted(path.name for path in CORRECT.iterdir()))
def test_correct_file(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CORRECT)
    code, findings = check(
        capsys, "--python-version", "3.12", "--env", "WORKERS=4", "--env", "PORT=8000", "--memory", "1g", name
    )
    assert [row for row in findings if row["level"] != "note"] == []
    assert code == 0


def check_repository(
    management: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[dict[str, object]]]:
    monkeypatch.chdir(REPOSITORY)
    arguments = [argument for pair in (*STACK, f"WORKER_MANAGEMENT={management}") for argument in ("--env", pair)]
    surroundings = ["--env-file", ".env.example", "--memory", "1g", "--python-version", "3.13"]
    return check(capsys, *surroundings, *arguments)


@pytest.mark.parametrize("management", ["lowtide", "without"])
def test_this_repository(management: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, findings = check_repository(management, capsys, monkeypatch)
    assert [row for row in findings if row["level"] != "note"] == []
    assert code == 0


def test_this_repository_by_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for surroundings in ([], ["--container", "docker-compose.yml", "--service", "app"]):
        code, findings = check(capsys, "--python-version", "3.13", *surroundings)
        assert code == 0
        assert {row["code"] for row in findings} <= {"variable-unset", "no-memory-recycling"}


def test_the_article_s_values_in_this_repository_s_container(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, findings = check_repository("article", capsys, monkeypatch)
    assert code == 1
    assert {row["code"] for row in findings if row["level"] != "note"} == {"memory-over-limit", "recycle-together"}
