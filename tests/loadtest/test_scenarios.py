"""The list of requests, which is made from a description and is the same for the same seed."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from loadtest.load import scenarios
from lowtide import application
from lowtide.application import Request
from tests.loadtest.conftest import ASKED


def row(name: str) -> Request:
    (request,) = (row for row in scenarios.loadtest().requests if row.name == name)
    return request


def test_the_list_is_the_same_for_the_same_seed() -> None:
    scenario = scenarios.SCENARIOS["default"]
    lists = [list(scenarios.requests(scenario, lane, 1)) for lane in scenarios.LANES]
    assert [len(requests) for requests in lists] == [scenario.small, scenario.large]
    assert lists[0] == list(scenarios.requests(scenario, "small", 1))
    assert lists[0] != list(scenarios.requests(scenario, "small", 2))


def test_paths_are_drawn_from_what_the_description_says() -> None:
    scenario = scenarios.SCENARIOS["quick"]
    paths = {asked.path for asked in scenarios.requests(scenario, "small", 1)}
    numbers = [int(path.split("/")[2]) for path in paths if path.startswith("/list/")]
    assert (min(numbers), max(numbers), len(numbers)) == (1, 50, 50)
    searches = [path.removeprefix("/search/").split("?q=") for path in paths if path.startswith("/search/")]
    assert {word for _, word in searches} == {"one", "two", "three"}
    assert all(100 <= int(number) <= scenario.items and len(number) == 6 for number, _ in searches)


def test_large_requests_come_by_weight() -> None:
    names = Counter(asked.row.name for asked in scenarios.requests(scenarios.SCENARIOS["default"], "large", 1))
    assert names in ({"upload": 54, "download": 6}, {"upload": 53, "download": 7})
    tight = Counter(asked.row.name for asked in scenarios.requests(scenarios.named("tight large=90"), "large", 1))
    assert tight == {"upload": 90}


def test_sizes_come_as_often_as_the_scenario_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = scenarios.SCENARIOS["mixed"]
    # An entry that fills the database keeps its size.
    assert {asked.size for asked in scenarios.requests(scenario, "large", 1)} == {1}
    text = (ASKED / "lowtide.toml").read_text()
    (tmp_path / "lowtide.toml").write_text(text.replace('seed_requests = ["upload"]', ""))
    (tmp_path / "asked_bodies.py").write_text((ASKED / "asked_bodies.py").read_text())
    monkeypatch.setenv("APP_DIR", str(tmp_path))
    scenarios.described.cache_clear()
    asked = list(scenarios.requests(scenarios.named("mixed large=117"), "large", 1))
    assert asked == list(scenarios.requests(scenarios.named("mixed large=117"), "large", 1))
    assert asked != sorted(asked, key=lambda asked: asked.size)
    counts = Counter(one.name for one in asked)
    assert counts == {"upload": 32, "upload x 5": 32, "upload x 15": 32, "upload x 30": 8, "download": 13}
    short = list(scenarios.requests(scenarios.named("mixed large=39"), "large", 1))
    assert (len(short), {one.name for one in short}) == (39, set(counts))
    bodies = {one.size: scenarios.body(one.call, scenario, 7, tmp_path, one.size) for one in asked if one.row.make_body}
    assert {size: len(body) for size, body in bodies.items()} == {size: 2 + 900 * size for size in (1, 5, 15, 30)}
    assert scenarios.largest_body_mb(scenario, 7, tmp_path) == max(map(len, bodies.values())) / 2**20


def test_with_streaming_the_counterparts_are_asked() -> None:
    scenario = scenarios.SCENARIOS["smoke"]
    plain, streamed = (
        {asked.row.name: asked for asked in scenarios.requests(scenario, "large", 1, streaming)}
        for streaming in (False, True)
    )
    assert plain["upload"].path == "/upload"
    assert streamed["upload"].path.startswith("/upload/")
    assert (streamed["upload"].call.method, streamed["upload"].row) == ("PUT", plain["upload"].row)
    assert {name: asked.call for name, asked in streamed.items() if name == "download"} == {
        name: asked.call for name, asked in plain.items() if name == "download"
    }


def test_a_body_is_made_once_for_each_seed(tmp_path: Path) -> None:
    scenario = scenarios.SCENARIOS["smoke"]
    upload = row("upload")
    assert scenarios.body(upload, scenario, 7, tmp_path) == b"7:" + b"x" * 500
    assert upload.streamed
    assert scenarios.body(upload.streamed, scenario, 7, tmp_path) == b"7:" + b"x\n" * 500
    assert scenarios.body(row("search"), scenario, 7, tmp_path) == b"{}"
    (kept,) = (path for path in tmp_path.iterdir() if "whole" in path.name)
    kept.write_bytes(b"kept")
    assert scenarios.body(upload, scenario, 7, tmp_path) == b"kept"
    assert scenarios.body(upload, scenario, 8, tmp_path) != b"kept"


def test_a_function_that_was_changed_makes_another_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = scenarios.SCENARIOS["smoke"]
    scenarios.body(row("upload"), scenario, 7, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"of the function before")
    changed = tmp_path / "changed.py"
    changed.write_text("# another")
    module = sys.modules[scenarios.described().load("asked_bodies:whole").__module__]
    monkeypatch.setattr(module, "__file__", str(changed))
    assert scenarios.body(row("upload"), scenario, 7, tmp_path) == b"7:" + b"x" * 500


def test_the_largest_body(tmp_path: Path) -> None:
    assert scenarios.largest_body_mb(scenarios.named("smoke records=2097150"), 1, tmp_path) == 2


@pytest.mark.parametrize(
    "change", ["small_rate=0", "large_rate=0.0", "small=0", "large=00", "small_users=0", "records=0", "items=0"]
)
def test_a_scenario_of_nothing_is_refused(change: str) -> None:
    with pytest.raises(ValueError, match=f"^SCENARIO: {change} cannot be used: write a number over 0.$"):
        scenarios.named(f"smoke {change}")


def test_a_quiet_time_of_zero_is_none() -> None:
    assert scenarios.named("smoke quiet_s=0 large_rate=0.5").quiet_s == 0


def test_seeding() -> None:
    scenario = scenarios.SCENARIOS["quick"]
    assert scenarios.seed_commands(scenario, 3) == ["fill --count 10000", "grow 13000 --seed 3"]


def test_a_description_without_an_experiment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ASKED / "lowtide.toml").read_text()
    (tmp_path / "lowtide.toml").write_text(text.split("[loadtest]")[0])
    monkeypatch.setenv("APP_DIR", str(tmp_path))
    scenarios.described.cache_clear()
    with pytest.raises(application.Invalid, match=r"lowtide.toml says nothing to ask: write \[loadtest\]"):
        scenarios.described()
    (tmp_path / "lowtide.toml").write_text(text.replace('["tight"]', '["tihgt"]'))
    (tmp_path / "bodies.py").write_text("")
    with pytest.raises(application.Invalid, match="left_out_of names tihgt: there are default, quick"):
        scenarios.described()


@pytest.mark.parametrize(("text", "name"), [(" ", " "), ("huge small=1", "huge")])
def test_a_scenario_that_there_is_not_is_named(text: str, name: str) -> None:
    with pytest.raises(ValueError, match=f"^SCENARIO={name}: there is no such scenario. There are: "):
        scenarios.named(text)
