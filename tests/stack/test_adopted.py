"""A project that knows nothing of this stack, as Django makes it, runs by its description alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from stack import Failed
from tests.described import MANAGE
from tests.planted import append
from tests.stack.conftest import Stack, Start
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack

DESCRIPTION = """name = "shop"

wsgi = "shop.wsgi:application"
manage = "code/manage.py"
page = "/admin/login/"
live = "/healthz"
ready = "/readyz"
settings = "shop.settings"
content_security_policy = "script-src 'self' 'unsafe-inline'"
hashed_static = false
build = ["manage.py collectstatic --noinput", "touch built"]

[[preload]]
path = "/admin/login/"
"""
OWN_HEADERS = """
from django.http import HttpResponse

own = {"Content-Security-Policy": "own", "X-Frame-Options": "SELF"}
urlpatterns.append(path("own/", lambda request: HttpResponse(headers=own)))
urlpatterns.append(path("fail/", lambda request: 1 / 0))
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


def lines_of(stack: Stack, request_id: str) -> list[dict[str, Any]]:
    """What nginx, uWSGI and Django have logged of a request."""
    lines = [*(stack.var / "log/access.log").read_text().splitlines(), *stack.log()]
    entries = [json.loads(line) for line in lines if request_id in line]
    return sorted(entries, key=lambda entry: ["request", "answer", "log"].index(entry["event"]))


def test_a_plain_project_runs_unchanged(project: Path, start: Start) -> None:
    append(project / "code/shop/urls.py", OWN_HEADERS)
    stack = start(APP_DIR=str(project))
    assert stack.get("/admin/login/").status_code == 200
    assert stack.get("/readyz").json()["status"] == "ready"
    # The static files are where nginx looks, the data is in the stack's database, and DEBUG is off.
    style = stack.get("/static/admin/css/base.css")
    assert (style.status_code, style.headers["Cache-Control"]) == (200, "no-cache")
    seen = {"If-None-Match": style.headers["ETag"]}
    assert stack.get("/static/admin/css/base.css", headers=seen).status_code == 304
    # A header of an answer wins over the description's, and over nginx's own.
    for path, policy, frames in (
        ("/admin/login/", "script-src 'self' 'unsafe-inline'", "DENY"),
        ("/own/", "own", "SELF"),
    ):
        headers = stack.get(path).headers
        assert (headers["Content-Security-Policy"], headers["X-Frame-Options"]) == (policy, frames)
    assert not (project / "code/db.sqlite3").exists()
    shown = stack.control("run", *MANAGE, "diffsettings").stdout
    assert f"MEDIA_ROOT = '{stack.var}/media'" in shown
    assert "DEBUG" not in stack.get("/none/").text
    assert (project / "built").exists()
    # An error has one id in all three logs, whose lines have one form.
    request_id = stack.get(f"/fail/?{'x' * 2000}").headers["X-Request-ID"]
    wait_until("all three have logged it", lambda: len(lines_of(stack, request_id)) == 3)
    nginx, uwsgi, django = lines_of(stack, request_id)
    for line in (nginx, uwsgi, django):
        assert list(line)[:4] == ["event", "time", "level", "request_id"]
        assert (line["level"], line["status"]) == ("error", 500)
        assert abs(line["time"] - time.time()) < 100
    assert (nginx["event"], uwsgi["event"], django["event"]) == ("request", "answer", "log")
    assert nginx["uri"] == f"/fail/?{'x' * 993}..."
    assert django["exception"].endswith("ZeroDivisionError: division by zero")
    # A second start says how the page answers.
    assert "Its page /admin/login/ answers 200." in stack.control("up").stdout


def refused(project: Path, start: Start) -> list[str]:
    """The lines that a start ends with."""
    with pytest.raises(Failed) as problem:
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
