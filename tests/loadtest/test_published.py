"""Every figure of README and docs that an experiment measured is in the committed result."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from loadtest.commands import publish
from loadtest.results import files, forks, limit, published, sweep
from loadtest.results.types import Environment, ResultError

from .conftest import Write

ENVIRONMENT = Environment(2, 1024, "3.13.5", "2.0.31", "5.2.19", "glibc 2.41")


@pytest.mark.parametrize("page", publish.pages(), ids=lambda page: page.name)
def test_each_block_is_what_its_result_says(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert published.filled(text, publish.RESULTS) == text, f"make publish writes {page.name} anew"
    named = {block["result"] for block in published.BLOCK.finditer(text)}
    assert all((publish.RESULTS / f"{name}.json").exists() for name in named)


@pytest.fixture
def results(tmp_path: Path, written: Write, expected: dict[str, Any]) -> Path:
    folder = tmp_path / "results"
    folder.mkdir()
    expected["variants"][0]["source"] = "https://example.com/settings"
    (written(expected) / "summary.json").rename(folder / "docker.json")
    rows = [sweep.Row(axis, 4, name, 90, 300, 200, None, 0) for axis in sweep.LABELS for name in sweep.COLOURS]
    files.write_whole(folder / "sweep.json", sweep.Sweep("local", ENVIRONMENT, "AMD EPYC", rows))
    limited = [limit.Row("lowtide", 900, 0, 0, 239.4, 91)]
    files.write_whole(folder / "limit.json", limit.Limit(ENVIRONMENT, "AMD EPYC", 4, 61, 1.5, 184.2, 97, 276, limited))
    mixed = limit.Limit(ENVIRONMENT, "AMD EPYC", 4, 61, 1.2, 184.2, 97, 390, limited, largest_mb=261)
    files.write_whole(folder / "mixed.json", mixed)
    fork = forks.Row("as it comes", 532.0, 865.0, 53.0, 134.0, 59.7, 78.4, 14.2)
    files.write_whole(folder / "forks.json", forks.Forks(ENVIRONMENT, "AMD EPYC", 4, 12, [fork]))
    return folder


@pytest.mark.parametrize(
    ("result", "form"),
    [
        ("docker", "picture"),
        *(("docker", form) for form in published.FORMS),
        *((name, name) for name in published.OTHERS),
    ],
)
def test_a_block_is_written_anew_and_nothing_else(results: Path, result: str, form: str) -> None:
    page = f"before\n<!-- from docs/results/{result}.json: {form} -->\nold 999 figures\n<!-- end -->\nafter\n"
    new = published.filled(page, results)
    assert new.startswith("before\n<!-- from")
    assert new.endswith("\n<!-- end -->\nafter\n")
    assert "999" not in new
    assert "lowtide" in new or "requests" in new or "https://example.com/settings" in new
    assert published.filled(new, results) == new


def test_a_picture_is_told_in_words(results: Path) -> None:
    page = "<!-- from docs/results/docker.json: picture -->\n<!-- end -->\n"
    assert (
        "\n![Memory over time, one panel a row: it comes back down in lowtide; it stays high in without, article."
        "](images/memory.png)\n"
    ) in published.filled(page, results)


def test_the_headline_has_the_figures(results: Path) -> None:
    text = published.headline(files.read_summary(results / "docker.json"))
    assert "| `without` worker management | 76 | 766 | 694 | 765 | 4.1 | 320 |" in text
    assert "would have averaged 160 MiB.\nOf 18,000 requests none failed." in text


def test_every_row_that_beats_ours_is_named_with_its_figure(results: Path) -> None:
    summary = files.read_summary(results / "docker.json")
    without, article, lowtide = summary.variants
    article.small_p99_ms = 9.0
    without.mean_mb, without.small_p99_ms, without.large_p50_ms = 147.9, 5.0, 320.4
    lowtide.mean_mb, lowtide.small_p99_ms, lowtide.large_p50_ms = 148.4, 5.1, 320.0
    said = published.beats(summary)
    # Means that look alike in the table are alike, and a larger figure is no lower one.
    assert "in: idle, peak, mean, end, " in said
    assert "- small p99, `lowtide` 5.1: `without` 5.0" in said
    assert "- large p50" not in said
    assert "~" not in said
    summary.rounds = 2
    for variant, values in ((without, (4.9, 5.6)), (lowtide, (5.0, 5.2))):
        variant.rounds = [structs.replace(variant, small_p99_ms=value) for value in values]
    assert "- small p99, `lowtide` 5.1: `without` ~5.0" in published.beats(summary)


def test_rows_are_compared_round_by_round(results: Path) -> None:
    summary = files.read_summary(results / "docker.json")
    without, _, lowtide = summary.variants
    without.rounds = [structs.replace(without, mean_mb=mean) for mean in (100, 200, 400)]
    lowtide.rounds = [structs.replace(lowtide, mean_mb=mean) for mean in (50, 50, 300)]
    said = published.against(summary)
    assert "| `without` | 0.50 (0.25 to 0.75) |" in said
    assert "`lowtide` |" not in said


def test_a_figure_that_is_not_known_is_compared_with_nothing(results: Path) -> None:
    own, other = files.read_summary(results / "docker.json").variants[:2]
    for single in (other, *other.rounds):
        single.small_p99_ms = None
    assert published.ratios_in_words(own, other, "small_p99_ms") == "-"


def test_older_figures_stay_until_the_first_result(results: Path) -> None:
    page = "<!-- from docs/results/local.json: memory -->\n| 766 |\n<!-- end -->\n"
    assert published.filled(page, results) == page


def test_without_our_row_nothing_is_compared(results: Path) -> None:
    summary = files.read_summary(results / "docker.json")
    summary.variants.pop()
    with pytest.raises(ResultError, match="lowtide was not measured"):
        published.beats(summary)


@pytest.mark.parametrize(("name", "picture"), [("sweep", "sweep.png"), ("limit", None), ("docker", "memory.png")])
def test_a_result_is_published_with_its_picture_and_into_its_blocks(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, picture: str | None
) -> None:
    measured, docs = tmp_path / "measured", tmp_path / "docs"
    for folder in (measured, docs / "images"):
        folder.mkdir(parents=True)
    whole = "summary" if name == "docker" else name
    shutil.copy(results / f"{name}.json", measured / f"{whole}.json")
    for file in tmp_path.glob("*.csv"):
        shutil.copy(file, measured)
    if picture:
        (measured / picture).write_bytes(b"picture")
    page = docs / "page.md"
    form = "memory" if name == "docker" else name
    page.write_text(f"<!-- from docs/results/{name}.json: {form} -->\n<!-- end -->\n")
    for variable, value in (("RESULTS", docs / "results"), ("IMAGES", docs / "images"), ("CHECKOUT", tmp_path)):
        monkeypatch.setattr(publish, variable, value)
    monkeypatch.setattr(publish, "pages", lambda: [page])
    monkeypatch.setattr(publish, "name_of", lambda summary: "docker")
    assert publish.main([str(measured)]) == 0
    assert page.read_text() == published.filled(page.read_text(), results)
    assert "lowtide" in page.read_text()
    assert [file.name for file in (docs / "images").iterdir()] == ([picture] if picture else [])


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("<!-- from docs/results/docker.json: headline -->\nno end\n", "has no <!-- end -->"),
        (
            "<!-- from docs/results/docker.json: curves -->\n\n<!-- end -->\n",
            "docker.json has no form curves: ",
        ),
        ("<!-- from docs/results/sweep.json: headline -->\n\n<!-- end -->\n", "sweep.json has no form headline: sweep"),
        ("<!-- from docs/results/moon.json: headline -->\n\n<!-- end -->\n", "there is no result moon: docker, local"),
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
