"""What stands between a command that measures and the application is told as it is."""

import pytest

from loadtest.measure import CannotMeasure
from loadtest.measure.runtimes import Local, asked_where_it_writes
from stack import Failed, local
from tests.machine import free_port


@pytest.mark.parametrize(
    ("problem", "advised"),
    [
        ("Unknown command: 'stores'. Type 'manage.py help' for usage.", True),
        ("Error response from daemon: could not find an available address pool", False),
    ],
)
def test_installed_apps_are_advised_only_where_the_command_is_unknown(problem: str, advised: bool) -> None:
    def run(command: list[str]) -> str:
        raise CannotMeasure(problem)

    with pytest.raises(CannotMeasure) as refused:
        asked_where_it_writes(run)
    assert str(refused.value).startswith("The application does not say where it writes, so nothing is sent.")
    assert str(refused.value).endswith(problem)
    assert ("INSTALLED_APPS" in str(refused.value)) == advised


def test_tables_and_static_files_are_made_once_for_all_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that failed may have failed before they were there."""
    asked = []

    def up(stack: local.Local, prepare: bool = True) -> str:
        asked.append(prepare)
        if len(asked) == 1:
            raise Failed("of the test")
        return ""

    monkeypatch.setattr(local.Local, "up", up)
    # What these do to the experiment's folder, other tests look at.
    monkeypatch.setattr(Local, "_make", lambda runtime: None)
    monkeypatch.setattr(Local, "_check", lambda runtime, started: None)
    runtime = Local(free_port(), {})
    with pytest.raises(Failed):
        runtime.start({})
    for name in ("without", "lowtide", "article"):
        runtime.start({"WORKER_MANAGEMENT": name})
    assert asked == [True, True, False, False]
