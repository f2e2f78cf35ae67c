"""The picture: these tests look for the elements in it. How it looks was judged by eye."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from typing import Any

import pytest
from matplotlib.image import imread

from loadtest.results import files, plot

from .conftest import Write, variant

SVG = "{http://www.w3.org/2000/svg}"


def parts(svg: str) -> dict[str, ET.Element]:
    """The elements of a picture by id."""
    return {element.get("id", ""): element for element in ET.fromstring(svg).iter()}  # noqa: S314 - our own picture


def draw(written: Write, summary: dict[str, Any], **options: bool) -> dict[str, ET.Element]:
    return parts(plot.svg(files.read(written(summary, **options))))


def texts(svg: str) -> list[str]:
    """The texts in a picture. Matplotlib draws them as shapes, and keeps the words in comments of the SVG."""
    return re.findall(r"<!-- (.*?) -->", svg)


def test_every_panel_has_its_series_and_levels(written: Write, expected: dict[str, Any]) -> None:
    drawn = draw(written, expected)
    for panel in range(3):
        for series in ("memory", "requests", "idle", "floor", "quiet"):
            assert drawn[f"panel-{panel}-{series}"].find(f".//{SVG}path") is not None, series
    assert "panel-0-working-set" not in drawn


def test_memory_is_blue_and_requests_are_red(written: Write, expected: dict[str, Any]) -> None:
    drawn = draw(written, expected)
    for series, colour in (("memory", "#0077bb"), ("requests", "#cc3311")):
        path = drawn[f"panel-0-{series}"].find(f"{SVG}path")
        assert path is not None
        assert f"stroke: {colour}" in path.get("style", "")


def test_the_peak_names_the_request_that_took_most(written: Write, expected: dict[str, Any]) -> None:
    expected["variants"][2]["peak_request"] = "POST /import/{id}/"
    drawn = plot.svg(files.read(written(expected)))
    assert "POST /import/{id}/" in texts(drawn)
    assert {name for name in parts(drawn) if name.endswith("-peak")} == {"panel-2-peak"}


def test_one_mark_for_each_recycle_and_kill(written: Write, expected: dict[str, Any]) -> None:
    expected["variants"][0]["oom_kills"] = 7
    expected["variants"][2]["recycles"]["requests"] = 300
    drawn = draw(written, expected)
    marks = {name: len(part.findall(f".//{SVG}use")) for name, part in drawn.items() if "-mark-" in name}
    assert {name: amount for name, amount in marks.items() if amount} == {
        "panel-0-mark-oom": 7,
        "panel-1-mark-requests": 5,
        "panel-2-mark-requests": 300,
        "panel-2-mark-rss": 60,
    }


def test_the_legend_names_only_what_happened(written: Write, expected: dict[str, Any]) -> None:
    words = texts(plot.svg(files.read(written(expected))))
    assert {"recycled: requests", "recycled: RSS", "quiet phase", "ideal mean, 160 MiB"} <= set(words)
    assert not {"OOM kill", "worker died", "recycled: lifetime", "working set"} & set(words)


def test_a_working_set_is_drawn_where_there_is_one(written: Write, expected: dict[str, Any]) -> None:
    assert "panel-2-working-set" in draw(written, expected, working_set=True)


def test_titles_name_variants_ratios_and_units(written: Write, expected: dict[str, Any]) -> None:
    words = texts(plot.svg(files.read(written(expected))))
    for text in (
        "without",
        "ends at 765 MiB, 10.1 times idle",
        "ends at 77 MiB, 1.01 times idle",
        "Memory (PSS, MiB)",
        "Cumulative requests",
        "Time since the load began (s)",
    ):
        assert text in words


def test_panels_share_their_scales(written: Write, expected: dict[str, Any]) -> None:
    panels = plot.figure(files.read(written(expected))).axes
    left, right = panels[:3], panels[3:]
    for group in (left, right):
        assert len({axes.get_ylim() for axes in group}) == 1
        assert len({axes.get_xlim() for axes in group}) == 1
    assert left[0].get_ylim()[1] > 766
    assert right[0].get_ylim()[1] > 6000


def test_the_same_files_make_the_same_picture(written: Write, expected: dict[str, Any]) -> None:
    results = files.read(written(expected))
    first = plot.svg(results)
    assert plot.svg(results) == first
    assert "dc:date" not in first
    assert "Matplotlib" not in first


def test_the_png_fits_a_readme_at_twice_its_width(written: Write, expected: dict[str, Any]) -> None:
    directory = written(expected)
    plot.write(files.read(directory))
    assert imread(directory / "memory.png").shape[1] == 1800
    assert (directory / "memory.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("count", [1, 2, 4, 17])
def test_any_number_of_variants(written: Write, expected: dict[str, Any], count: int, narrow: bool) -> None:
    expected["variants"] = [variant(f"v{index}", 309.0, 148.0, 77.0, 9.0, rss=9) for index in range(count)]
    figure = plot.figure(files.read(written(expected)), narrow)
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left").strip() for axes in panels] == [f"v{index}" for index in range(count)]
    boxes = [axes.get_position() for axes in panels]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert max(box.width for box in boxes) - min(box.width for box in boxes) < 0.01
    steps = [right.x0 - left.x0 for left, right in pairwise(boxes[:3]) if count > 2 and right.x0 > left.x0]
    assert max(steps, default=0) - min(steps, default=0) < 0.01


def test_many_panels_are_small_and_say_less(written: Write, expected: dict[str, Any]) -> None:
    expected["variants"] = [variant(f"v{index}", 309.0, 148.0, 77.0, 9.0) for index in range(17)]
    results = files.read(written(expected))
    assert "77 MiB, 1.01 x idle" in texts(plot.svg(results))
    # Many panels stand in five rows of four and not in seven of three; on a phone in nine rows of two.
    assert plot.figure(results).get_figheight() < 10
    assert plot.figure(results, narrow=True).get_figheight() < 16


def test_figures_that_were_not_measured(written: Write, expected: dict[str, Any]) -> None:
    expected["floor_mb"] = None
    expected["variants"][0] |= {"idle_mb": None, "end_mb": None}
    directory = written(expected)
    (directory / "samples.csv").write_text("variant,t_s,pss_mb,working_set_mb,requests,workers\nlowtide,0,,,,\n")
    svg = plot.svg(files.read(directory))
    drawn = parts(svg)
    assert "panel-0-idle" not in drawn
    assert "panel-1-idle" in drawn
    assert not any(name.endswith("-floor") for name in drawn)
    assert texts(svg).count("no samples") == 2


def test_names_are_drawn_as_they_are(written: Write, expected: dict[str, Any]) -> None:
    expected["variants"][0]["name"] = "a$b_{$--><script>"
    svg = plot.svg(files.read(written(expected)))
    assert "<script" not in svg
    assert parts(svg)["panel-0-memory"] is not None


def test_no_two_colours_are_alike() -> None:
    """No two colours may be equal: a page replaces each by a custom property, so that it can have a dark form."""
    assert len(set(plot.COLOURS.values())) == len(plot.COLOURS)
