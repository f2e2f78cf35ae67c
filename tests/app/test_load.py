"""The experiment sends the same bytes for the same seed, so that published numbers stay comparable."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from catalog import load

from loadtest.load import scenarios
from lowtide import application

APP = Path(load.__file__).parents[1]


def test_the_description_can_be_used() -> None:
    application.check(application.read(APP))


@pytest.mark.parametrize(
    ("records", "seed", "feed", "lines"),
    [
        (500, 1, "29b18cc62f281a500cb5ccef1d75b7ee76f410d9b1cdaaac66c1d7664a204e86",
         "f4defe2e0eaebd84cb8e60bb2945b9b3b7455e69c3e820264a5bff808076a4c1"),
        (500, 2, "885b2004f528c57a73ed31ce164d539005cf501623119aab296c4b16289d4ba9",
         "7ba40fb9549428ea5818386460b005522818999f5ab5b99a4705a78a29b76ee4"),
        (13_000, 1, "ba8f9754642d092645bd124ef7c00c6cf0cdbe7bb19891aa31796263c8b85f05",
         "2a3bbfbfe989378506864e72316c7e6141b957e62d86c6847660d91d0745c2c7"),
    ],
)  # fmt: skip
def test_the_bodies(records: int, seed: int, feed: str, lines: str) -> None:
    assert hashlib.sha256(load.feed(records, seed)).hexdigest() == feed
    assert hashlib.sha256(load.feed_lines(records, seed)).hexdigest() == lines


@pytest.mark.parametrize(
    ("scenario", "seed", "expected"),
    [
        ("default", 1, "a05c6d1442f6446af8289924c7fe299230a669483755922e912fa9d37fd0ce8c"),
        ("default", 2, "39a41285aa8b7e5cdb3dd96fd4805e7c1e133d775841d6495fbbb85fd4cc6f60"),
        ("quick", 1, "5b7783605b719340e6a037242b4f024000bdd8c2cf74a5018fe082469c58946d"),
        ("smoke", 1, "7d71a61ce8ae65d733d72d9e268fc5c787afb8f79b2121b60137a3d4a7efb8b1"),
        ("sweep", 1, "868f04ed452e9d2078b49143bf131eab3abb0c21ac4c3d3bc5b78e88ea17e778"),
        ("tight", 1, "929aaeeb29a29daf3914e0d6aa6ae2e10d5a809b2ef0b9a0016bdfc8a13b06e6"),
        ("article", 1, "bc9d9bea6a1c1fc68ba12a1f26f407e89a476c3acd8c994e361b5f8b8f33f94b"),
    ],
)
def test_the_list(scenario: str, seed: int, expected: str) -> None:
    digest = hashlib.sha256()
    for lane in scenarios.LANES:
        for asked in scenarios.requests(scenarios.SCENARIOS[scenario], lane, seed):
            digest.update(f"{asked.row.lane} {asked.row.name} {asked.path}\n".encode())
    assert digest.hexdigest() == expected


def test_large_requests_come_by_weight() -> None:
    names = Counter(asked.row.name for asked in scenarios.requests(scenarios.SCENARIOS["default"], "large", 1))
    assert names == {"import, dry run": 42, "import": 6, "export.json": 6, "report": 6}
    mixed = Counter(asked.name for asked in scenarios.requests(scenarios.SCENARIOS["mixed"], "large", 1))
    assert mixed == {
        "import, dry run": 56,
        "import, dry run x 5": 56,
        "import, dry run x 15": 56,
        "import, dry run x 30": 14,
        "import": 26,
        "export.json": 26,
        "report": 26,
    }
    tight = Counter(asked.row.name for asked in scenarios.requests(scenarios.named("tight large=90"), "large", 1))
    assert tight == {"import, dry run": 70, "import": 10, "export.json": 10}


def test_streaming_counterparts() -> None:
    streamed = {
        asked.row.name: (asked.path, asked.call.headers.get("Content-Type"))
        for asked in scenarios.requests(scenarios.SCENARIOS["default"], "large", 1, streaming=True)
        if asked.call is not asked.row
    }
    assert streamed == {
        "import, dry run": ("/catalog/import/?dry_run=1", "application/x-ndjson"),
        "import": ("/catalog/import/", "application/x-ndjson"),
        "export.json": ("/catalog/export.ndjson", None),
    }


def test_a_feed_as_lines_has_the_same_records() -> None:
    assert [json.loads(line) for line in load.feed_lines(500, 1).splitlines()] == json.loads(load.feed(500, 1))
