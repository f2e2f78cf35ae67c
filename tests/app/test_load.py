"""What the experiment sends here is the same for the same seed, to the byte: published numbers stay comparable."""

import hashlib
from pathlib import Path

import pytest
from catalog import load

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
