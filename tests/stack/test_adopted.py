"""A project that knows nothing of this stack, as Django makes it, runs by its description alone."""

from pathlib import Path

import pytest
from django.core.management import call_command

from tests.planted import append
from tests.stack.conftest import Start

pytestmark = pytest.mark.stack

DESCRIPTION = """name = "shop"

wsgi = "shop.wsgi:application"
manage = "code/manage.py"
page = "/admin/login/"
live = "/healthz"
ready = "/readyz"
settings = "shop.settings"
build = ["manage.py collectstatic --noinput", "touch built"]

[[preload]]
path = "/admin/login/"
"""
BROKEN = """
def fail(request):
    raise RuntimeError("planted")


urlpatterns.append(path("", fail))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "code").mkdir(parents=True)
    call_command("startproject", "shop", str(folder / "code"))
    (folder / "lowtide.toml").write_text(DESCRIPTION)
    return folder


def test_a_plain_project_runs_unchanged(project: Path, start: Start) -> None:
    stack = start(APP_DIR=str(project))
    assert stack.get("/admin/login/").status_code == 200
    assert stack.get("/readyz").json()["status"] == "ready"
    # The static files are where nginx looks, the data is in the stack's database, and DEBUG is off.
    assert stack.get("/static/admin/css/base.css").status_code == 200
    assert not (project / "code/db.sqlite3").exists()
    assert "DEBUG" not in stack.get("/none/").text
    assert (project / "built").exists()
    # A second start says how the page answers.
    assert "Its page /admin/login/ answers 200." in stack.control("up").stdout


def refused(project: Path, start: Start) -> list[str]:
    """The lines that a start ends with."""
    with pytest.raises(RuntimeError) as problem:
        start(APP_DIR=str(project))
    return str(problem.value).splitlines()


def test_a_page_that_fails_stops_the_start(project: Path, start: Start) -> None:
    (project / "lowtide.toml").write_text(DESCRIPTION.replace('page = "/admin/login/"', 'page = "/"'))
    append(project / "code/shop/urls.py", BROKEN)
    lines = refused(project, start)
    assert lines[-1].startswith("The site is up, but its page / answers 500: the lines above may say why.")
    assert "RuntimeError: planted" in lines


def test_a_broken_contract_stops_the_start_with_one_line(project: Path, start: Start) -> None:
    """Settings that the stack does not wrap, and that serve static files at another address than nginx."""
    text = DESCRIPTION.replace('settings = "shop.settings"\n', "")
    (project / "lowtide.toml").write_text(text)
    append(project / "code/shop/settings.py", "INSTALLED_APPS += ['lowtide.django']\nSTATIC_URL = '/assets/'\n")
    lines = refused(project, start)
    assert any(
        "(lowtide.E002) STATIC_URL is '/assets/', and nginx serves the files at /static/" in line for line in lines
    )
    assert lines[-1] == "`manage.py migrate` failed, as said above."
    assert not any("Traceback" in line for line in lines)
