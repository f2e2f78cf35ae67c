"""How long a request has waited, also when the clock is set in the meantime."""

import pytest

from lowtide import overload


@pytest.mark.parametrize(
    ("start", "waited"),
    [("t=90.5", 9.5), ("t=100.000", 0), ("t=3700", 0), ("", 0), ("t=", 0), ("t=nan", 0), ("yesterday", 0)],
)
def test_what_nginx_writes_is_understood_and_all_else_is_no_wait(start: str, waited: float) -> None:
    """This happens when the clock was set back meanwhile."""
    assert overload.waited_s({"HTTP_X_REQUEST_START": start}, 100.0) == waited


@pytest.mark.parametrize("value", ["-1", "1.5", "soon"])
def test_a_queue_without_a_length_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("QUEUE_S", value)
    with pytest.raises(ValueError, match=f"QUEUE_S={value} cannot be used"):
        overload.queue_s()
