"""Applications from the package index: no false alarm, and one whose worker grows as was reported."""

from pathlib import Path

import pytest

from tests.lowtide.tools.diagnose import public_case
from tests.lowtide.tools.diagnose.real import APPLICATIONS, Application, rows


@pytest.mark.night
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_no_page_draws_an_alarm(application: Application, tmp_path: Path) -> None:
    alarms = [row for quiet, row in rows(application, tmp_path) if not quiet]
    assert not alarms


@pytest.mark.night
@pytest.mark.timeout(3600)
def test_the_worker_of_the_public_case_still_grows(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert public_case.main([str(tmp_path), "--requests", "1600"]) == 0
    assert "Verdict: " in capfd.readouterr().out
