"""The points that the sweep measures, and its picture."""

import csv
import dataclasses
from pathlib import Path

import msgspec
import numpy
import pytest

from loadtest.commands import sweep
from loadtest.load import scenarios
from loadtest.results import files
from loadtest.results import sweep as results
from loadtest.results.types import Environment


def test_each_axis_goes_through_the_middle_and_varies_one_thing() -> None:
    for axis, points in sweep.AXES.items():
        assert sweep.MIDDLE in points, axis
        middle = dataclasses.astuple(sweep.MIDDLE)
        changed = [sum(a != b for a, b in zip(dataclasses.astuple(p), middle, strict=True)) for p in points]
        assert set(changed) == {0, 1}, axis


def test_quick_keeps_the_ends_and_the_middle() -> None:
    quick = [point for axis, point in sweep.points(quick=True) if axis == "workers"]
    assert [point.workers for point in quick] == [1, 4, 16]


def test_every_point_asks_for_as_many_requests() -> None:
    totals = {scenarios.named(point.scenario).requests for _, point in sweep.points(quick=False)}
    assert totals == {1000}


def test_a_single_worker_has_one_pool() -> None:
    assert sweep.Point(workers=1).variant("lowtide").environment == {"WORKERS": "1", "LARGE_WORKERS": "0"}
    assert sweep.Point(workers=2).variant("lowtide").environment == {"WORKERS": "2"}


def test_the_picture_shows_what_was_measured(tmp_path: Path) -> None:
    rows = [
        results.Row(axis, at, name, 100.0, 100.0, at * 10.0, None, 0)
        for axis in sweep.AXES
        for name in sweep.NAMES
        for at in (1, 4)
    ]
    environment = Environment(2, 1024, "3.13.5", "2.0.31", "5.2.19", "glibc 2.41")
    results.write(tmp_path, results.Sweep("local", environment, "AMD EPYC", rows))
    assert files.read_whole(tmp_path / "sweep.json", results.Sweep).rows == rows
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "sweep.svg").read_text()
    with (tmp_path / "sweep.csv").open(newline="") as file:
        written = [
            msgspec.convert({key: cell or None for key, cell in row.items()}, results.Row, strict=False)
            for row in csv.DictReader(file)
        ]
    assert written == rows
    panel = results.figure(rows).axes[0]
    assert len(panel.lines) == 2 * len(sweep.NAMES)
    assert numpy.asarray(panel.lines[0].get_ydata()).tolist() == [10, 40]
    assert results.table(rows).rows[0] == ["workers", "without", "1", "100", "100", "10", "-", "0"]


def test_every_axis_has_its_panel() -> None:
    assert list(results.LABELS) == list(sweep.AXES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("huge", "SCENARIO=huge: there is no such scenario"),
        ("quick larg=3", "larg=3 is no number for one of small, large"),
        ("quick large=many", "large=many is no number"),
        ("quick large", "large is no number"),
        ("quick large=1.5", "large=1.5 is no number"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scenarios.named(text)


def test_a_scenario_with_other_fields() -> None:
    changed = scenarios.named("quick large=30 large_rate=0.5")
    assert (changed.small, changed.large, changed.large_rate) == (1980, 30, 0.5)
