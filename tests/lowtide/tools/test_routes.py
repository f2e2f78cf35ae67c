"""The list of large paths against a ledger: what it lacks, what it names for nothing, and who says so."""

from pathlib import Path

import pytest

from lowtide import ledger
from lowtide.ledger import Ledger
from lowtide.tools import cli, routes

SMALL, LARGE = 1, 2
DESCRIPTION = """name = "shop"
wsgi = "shop:application"
manage = "manage.py"
page = "/"
live = "/alive"
ready = "/ready"
large = ["/export*", "/report/"]
"""


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger of a small and a large worker in the current folder, beside the description of its application."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("APP_DIR", raising=False)
    Path("app").mkdir()
    Path("app/lowtide.toml").write_text(DESCRIPTION)
    made = Ledger(2, file=tmp_path / "ledger", large_workers=1)
    for worker, route, peak_mb in (
        (SMALL, "/item/<int:pk>/", 0.5),
        (SMALL, "/feed/<int:pk>/", 60.0),
        # Large by their bodies, or because they are listed: both are where they should be.
        (LARGE, "/import/", 90.0),
        (LARGE, "/report/", 0.5),
        (LARGE, "/export.<str:kind>", 40.0),
    ):
        made.take_place(worker)
        for _ in range(25):
            made._enter("GET", route, peak_mb, 0.0, 0.0, 0.01)
    return tmp_path / "ledger"


def judged(book: Path, listed: tuple[str, ...]) -> routes.Verdict:
    return routes.judge(
        listed,
        [routes.figures(row) for row in ledger.read(book)[0]],
        [routes.figures(row) for row in ledger.read(book, small=True)[0]],
    )


def test_what_inflates_small_workers_is_missing_and_what_is_small_is_needless(book: Path) -> None:
    verdict = judged(book, ("/export*", "/report/"))
    assert verdict.missing == {
        "/feed/*": "/feed/* is missing: GET /feed/<int:pk>/: 25 requests, peak p50 60 MiB, max 60"
    }
    assert list(verdict.needless) == ["/report/"]


def test_a_list_that_agrees_gets_nothing(book: Path) -> None:
    assert judged(book, ("/export*", "/feed/*")) == routes.Verdict({}, {})


def test_check_warns_where_the_ledger_lies_beside_the_stats_socket(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("uwsgi.ini").write_text(f"[uwsgi]\nmaster = true\nstats = {book.with_name('stats.sock')}\n")
    cli.main(["check", "--no-compare"])
    told = capsys.readouterr().out
    assert "app/lowtide.toml:7" in told
    assert "/feed/* is missing" in told
    assert "/report/ is listed, and not large" in told
    book.unlink()
    cli.main(["check", "--no-compare"])
    assert "large-list-differs" not in capsys.readouterr().out
