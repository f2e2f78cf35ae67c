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


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        ("lowtide typo", "VARIANTS: there is no variant typo. There are: "),
        ("gunicorn", "nothing to run gunicorn with: choose others"),
    ],
)
def test_variants_that_cannot_be_measured(variants: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARIANTS", variants)
    with pytest.raises(CannotMeasure, match=says):
        limit.run([])


def test_no_other_runtime_is_offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("VARIANTS", "all")
    with pytest.raises(AssertionError, match="the stack was started"):
        limit.run([])
    assert "Left out, because the images do not hold what they need: " in capsys.readouterr().out
