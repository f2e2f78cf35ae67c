"""`make limit` refuses what it cannot measure before it starts anything."""

import pytest

from loadtest.commands import limit
from loadtest.measure import CannotMeasure


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack that cannot be made, so that a run that would come that far fails."""

    def made(*_: object) -> None:
        raise AssertionError("the stack was started")

    monkeypatch.setattr(limit, "Docker", made)


def test_a_variant_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIANTS", "lowtide typo")
    with pytest.raises(CannotMeasure, match="VARIANTS: there is no variant typo"):
        limit.run([])
