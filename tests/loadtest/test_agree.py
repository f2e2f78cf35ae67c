"""Two runs side by side: which ratios agree, which do not, and what may be the reason."""

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadtest.commands import agree
from loadtest.results import agreement
from loadtest.results.types import Summary


def checked(summary: dict[str, Any]) -> Summary:
    return msgspec.convert(summary, Summary)


def differing(own: dict[str, Any], other: dict[str, Any]) -> set[tuple[str, str]]:
    comparisons = agreement.compare(checked(own), checked(other))
    return {(one.variant, one.name) for one in comparisons if not one.agrees}


def test_a_faster_machine_with_the_same_ratios_agrees(expected: dict[str, Any]) -> None:
    faster = copy.deepcopy(expected)
    for variant in faster["variants"]:
        for name in ("small_p99_ms", "small_due_p99_ms", "large_p50_ms"):
            variant[name] /= 3
    assert differing(faster, expected) == set()
    assert {one.name for one in agreement.compare(checked(faster), checked(expected))} == set(agreement.RATIOS)


def test_what_is_more_than_a_tenth_apart_differs(expected: dict[str, Any]) -> None:
    other = copy.deepcopy(expected)
    other["variants"][2]["end_mb"] *= 1.09
    assert differing(expected, other) == set()
    other["variants"][2]["end_mb"] *= 1.09
    assert differing(expected, other) == differing(other, expected) == {("lowtide", "end / idle")}


def test_rounds_that_overlap_agree(expected: dict[str, Any]) -> None:
    other = copy.deepcopy(expected)
    lowtide = other["variants"][2]
    lowtide["end_mb"] *= 1.5
    lowtide["rounds"] = [lowtide | {"end_mb": factor * 77.0} for factor in (1.0, 1.5, 1.6)]
    assert ("lowtide", "end / idle") not in differing(expected, other)


def test_reasons_name_what_is_not_the_same(expected: dict[str, Any]) -> None:
    other = copy.deepcopy(expected)
    other["environment"] |= {"cpus": 8, "python": "3.11.7"}
    other |= {"load_average": 0.4, "settings": {"WORKERS": "8"}}
    reasons = list(agreement.reasons(checked(expected | {"load_average": 3.0}), checked(other)))
    assert reasons[0] == "Other work on the machine here: a load average of 3.0 on 2 processors at the start."
    assert reasons[1:-1] == [
        "settings: as shipped here, WORKERS=8 published.",
        "processors: 2 here, 8 published.",
        "Python: 3.13.5 here, 3.11.7 published.",
    ]
    assert reasons[-1].startswith("One round only: ROUNDS=5")


def test_the_command_ends_by_what_it_found(
    expected: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, published = tmp_path / "own.json", tmp_path / "published.json"
    own.write_text(json.dumps(expected))
    published.write_text(json.dumps(expected))
    assert agree.main([str(own), "--with", str(published)]) == 0
    assert "15 of 15 ratios agree within their rounds and 10 %." in capsys.readouterr().out
    expected["variants"][0]["end_mb"] = 100.0
    published.write_text(json.dumps(expected))
    assert agree.main([str(own), "--with", str(published), "--markdown"]) == 1
    out = capsys.readouterr().out
    assert "| without | end / idle | differs | 10.1 | 1.32 |" in out
    assert "14 of 15 ratios agree within their rounds and 10 %." in out
    published.unlink()
    assert agree.main([str(own), "--with", str(published)]) == 2
    assert "There is no published run" in capsys.readouterr().err
