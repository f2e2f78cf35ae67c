"""What stands between a command that measures and the application is told as it is."""

import pytest

from loadtest.measure import CannotMeasure
from loadtest.measure.runtimes import asked_where_it_writes


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
