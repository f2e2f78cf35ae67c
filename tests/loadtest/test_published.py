"""Every figure of README and docs that an experiment measured is in the committed result."""

from pathlib import Path
from typing import Any

import pytest

from loadtest.commands import publish
from loadtest.results import files, published
from loadtest.results.types import ResultError

from .conftest import Write


@pytest.mark.parametrize("page", publish.pages(), ids=lambda page: page.name)
def test_each_block_is_what_its_result_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert published.filled(text, publish.RESULTS) == text, f"make publish writes {page.name} anew"


@pytest.fixture
def results(tmp_path: Path, written: Write, expected: dict[str, Any]) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    (written(expected) / "summary.json").rename(folder / "docker.json")
    return folder


@pytest.mark.parametrize("form", published.FORMS)
def test_a_block_is_written_anew_and_nothing_else(results: Path, form: str) -> None:
    page = f"before\n<!-- from docs/results/docker.json: {form} -->\nold 999 figures\n<!-- end -->\nafter\n"
    new = published.filled(page, results)
    assert new.startswith("before\n<!-- from")
    assert new.endswith("\n<!-- end -->\nafter\n")
    assert "999" not in new
    assert "lowtide" in new or "requests" in new
    assert published.filled(new, results) == new


def test_the_headline_has_the_figures(results: Path) -> None:
    text = published.headline(files.read_summary(results / "docker.json"))
    assert "| `without` worker management | 76 | 766 | 694 | 765 | 4.1 | 320 |" in text
    assert "would have averaged 160 MiB.\nOf 18,000 requests none failed." in text


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<!-- from docs/results/docker.json: headline -->\nno end\n", "has no <!-- end -->"),
        ("<!-- from docs/results/docker.json: curves -->\n\n<!-- end -->\n", "there is no form curves"),
        ("<!-- from docs/results/moon.json: headline -->\n\n<!-- end -->\n", r"moon\.json"),
    ],
)
def test_a_block_that_cannot_be_made_is_one_line(results: Path, page: str, says: str) -> None:
    with pytest.raises(ResultError, match=says):
        published.filled(page, results)


@pytest.mark.parametrize(
    ("changes", "variants", "says"),
    [
        ({"runtime": "deployment"}, 3, "this was a deployment"),
        ({"scenario": "soak"}, 3, "SCENARIO=soak"),
        ({}, 2, "missing: lowtide"),
    ],
)
def test_what_is_no_result_to_publish(
    written: Write, expected: dict[str, Any], changes: dict[str, Any], variants: int, says: str
) -> None:
    expected |= changes
    expected["variants"] = expected["variants"][:variants]
    with pytest.raises(ResultError, match=says):
        publish.name_of(files.read_summary(written(expected) / "summary.json"))
