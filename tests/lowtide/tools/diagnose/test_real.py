"""Applications from the package index draw no false alarm."""

from pathlib import Path

import pytest

from tests.lowtide.tools.diagnose.real import APPLICATIONS, Application, rows


@pytest.mark.night
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_no_page_draws_an_alarm(application: Application, tmp_path: Path) -> None:
    alarms = [row for quiet, row in rows(application, tmp_path) if not quiet]
    assert not alarms
