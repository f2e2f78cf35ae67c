"""`make limit`: what it refuses before it starts anything, how large the container is, and the table."""

import pytest

from loadtest.commands import limit
from loadtest.load import scenarios
from loadtest.measure import CannotMeasure
from loadtest.results.limit import Limit, Row, table
from loadtest.results.types import Environment

ENVIRONMENT = Environment(2, 1024, "3.13.5", "2.0.31", "5.2.19", "glibc 2.41")


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that cannot be made, so that a run that would come that far fails."""

    def made(*_: object) -> None:
        raise AssertionError("the stack was started")

    monkeypatch.setattr(limit, "Docker", made)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"VARIANTS": "lowtide typo"}, "VARIANTS: there is no variant typo"),
        ({"SCENARIO": "default large=9"}, "SCENARIO=default large=9 is no list of make limit: write tight or mixed"),
        ({"SCENARIO": "mixed"}, "SCENARIO=mixed asks for bodies of several sizes, and no large request has"),
        ({"FLOORS": "none"}, "FLOORS=none is not a number over 0"),
    ],
)
def test_what_cannot_be_measured(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], says: str) -> None:
    for name in ("VARIANTS", "SCENARIO", "FLOORS", "QUICK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CannotMeasure, match=says):
        limit.run([])


def test_what_fits_must_fit() -> None:
    """An idle server of 100 MiB, a floor of 180 and a request of 250: 1.2 floors would not hold it, 3 floors do."""
    assert limit.limit_mb(1.2, 180, 100, None) == 216
    assert limit.limit_mb(1.2, 180, 100, 250) == 382
    assert limit.limit_mb(3, 180, 100, 250) == 540


@pytest.mark.parametrize("name", limit.LISTS)
def test_each_list_is_a_scenario(name: str) -> None:
    assert scenarios.named(f"{name} {limit.LISTS[name].others}").name == name


def test_rates_are_compared_round_by_round() -> None:
    rows = [Row("lowtide", 9, 0, 0, 300, 99, [2.0, 1.0, 2.0]), Row("admitted", 9, 0, 0, 310, 99, [3.0, 2.0, 2.5])]
    shown = table(Limit(ENVIRONMENT, "AMD EPYC", 4, 61, 1.2, 180.0, 100, 382, rows, largest_mb=250))
    assert [row[-2:] for row in shown.rows] == [
        ["2.00 (1.00 to 2.00)", "1.00 (1.00 to 1.00)"],
        ["2.50 (2.00 to 3.00)", "1.50 (1.25 to 2.00)"],
    ]
    assert "an idle server and the largest request alone, which needs 250; that is more than 1.2 times" in shown.caption
    assert "Medians of 3 rounds" in shown.caption
    one = table(Limit(ENVIRONMENT, "AMD EPYC", 4, 61, 1.5, 180.0, 100, 270, [Row("lowtide", 9, 0, 0, 250, 99)]))
    assert "Limit 270 MiB, 1.5 times the floor of 180 (idle 100); memory in MiB. 4 workers" in one.caption
    assert len(one.heading) == len(one.rows[0]) == 6
