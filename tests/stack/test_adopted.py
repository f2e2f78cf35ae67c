"""A project that knows nothing of this stack, as Django makes it, runs by its description alone."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from loadtest.measure import CannotMeasure, site
from lowtide.application import LOGGED_IN, Call, Loadtest, Login
from stack import Failed
from tests.described import MANAGE
from tests.planted import append
from tests.stack.conftest import PLANTED, Stack, Start
from tests.stack.edge import wait_until
from tests.stack.receiver import receiving

pytestmark = pytest.mark.stack

DESCRIPTION = """name = "shop"

wsgi = "plainsite.wsgi:application"
manage = "code/manage.py"
page = "/admin/login/"
live = "/healthz"
ready = "/readyz"
settings = "plainsite.settings"
content_security_policy = "script-src 'self' 'unsafe-inline'"
hashed_static = false
build = ["manage.py collectstatic --noinput", "touch built"]

[processes]
ticker = "python ticker.py"

[[preload]]
path = "/admin/login/"
"""
# A further process, which says who it is where the test looks.
TICKER = """
import os, time
from pathlib import Path

made = Path(os.environ["VAR_DIR"], "ticker.new")
made.write_text(str(os.getpid()))
made.rename(made.with_name("ticker"))
time.sleep(3600)
"""
OWN_HEADERS = """
from django.http import HttpResponse

own = {"Content-Security-Policy": "own", "X-Frame-Options": "SELF"}
urlpatterns.append(path("own/", lambda request: HttpResponse(headers=own)))
urlpatterns.append(path("fail/", lambda request: 1 / 0))
"""
# What each worker has imported, and a request that takes 150 MiB and keeps them.
REPORTS = """
import os
import sys

from django.http import JsonResponse

kept = []


def modules(request):
    return JsonResponse(sorted({name.partition(".")[0] for name in sys.modules}), safe=False)


def keep(request, number):
    kept.append(os.urandom(150 << 20))
    return JsonResponse({})


urlpatterns += [path("modules/", modules), path("keep/<int:number>/", keep)]
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
    call_command("startproject", "plainsite", str(folder / "code"))
    (folder / "lowtide.toml").write_text(DESCRIPTION)
    (folder / "ticker.py").write_text(TICKER)
    return folder


def lines_of(stack: Stack, request_id: str) -> list[dict[str, Any]]:
    """What nginx, uWSGI and Django have logged of a request."""
    lines = [*(stack.var / "log/access.log").read_text().splitlines(), *stack.log()]
    entries = [json.loads(line) for line in lines if request_id in line]
    return sorted(entries, key=lambda entry: ["request", "answer", "log"].index(entry["event"]))


def test_a_plain_project_runs_unchanged(project: Path, start: Start) -> None:
    append(project / "code/plainsite/urls.py", OWN_HEADERS + REPORTS)
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
    # Without its switch nothing that reports is imported.
    assert not {"opentelemetry", "sentry_sdk", "google", "urllib3"} & set(stack.get("/modules/").json())
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
    # The further process runs, and ends and begins with the stack.
    wait_until("the process has said who it is", (stack.var / "ticker").exists)
    before = (stack.var / "ticker").read_text()
    # A second start says how the page answers, and that the limit is too low for the workers.
    stack.environment["RELOAD_ON_RSS"] = "40"
    said = stack.control("up").stdout
    assert "Its page /admin/login/ answers 200. An idle worker has " in said
    assert "MiB and RELOAD_ON_RSS is 40, so workers are replaced too often: write RELOAD_ON_RSS=" in said
    assert not Path("/proc", before).exists()
    wait_until("it runs again", lambda: (stack.var / "ticker").read_text() != before)


def test_the_experiment_logs_in(project: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    append(project / "code/plainsite/settings.py", 'CSRF_COOKIE_NAME = "shop_csrftoken"\n')
    stack = start(APP_DIR=str(project), DJANGO_SUPERUSER_PASSWORD="a-password-for-tests")
    words = ("createsuperuser", "--noinput", "--username=ann", "--email=ann@shop.example")
    assert stack.control("run", *MANAGE, *words).returncode == 0
    # The second request changes something, so Django wants the token against forged requests.
    page, change = Call(path="/admin/", login=True), Call(path="/admin/logout/", method="POST", login=True)
    form = {"username": "ann", "password": "{PASSWORD}"}
    section = Loadtest(warm_up=page, requests=(), login=Login(path="/admin/login/?next=/admin/", form=form))
    monkeypatch.setattr("loadtest.load.scenarios.loadtest", lambda: section)
    # Taken away after the test again.
    monkeypatch.setenv(LOGGED_IN, "")
    with pytest.raises(CannotMeasure, match="answered 302"):
        site.ask(stack.url, page)
    monkeypatch.setenv("PASSWORD", "wrong")
    with pytest.raises(CannotMeasure, match="nobody is logged in"):
        site.log_in(stack.url)
    monkeypatch.setenv("PASSWORD", "a-password-for-tests")
    site.log_in(stack.url)
    site.ask(stack.url, page)
    site.ask(stack.url, change)
    with pytest.raises(CannotMeasure, match="answered 302"):
        site.ask(stack.url, page)


@pytest.mark.parametrize(
    "field",
    [
        '<input type="hidden" name="csrfmiddlewaretoken" value="Ab1">',
        # Without what HTML lets a page leave out, as pretalx has it.
        "<input name=csrfmiddlewaretoken type=hidden value=Ab1>",
    ],
)
def test_the_token_of_a_form(field: str) -> None:
    assert site.token(f"<form>{field}<input name=other value=x>") == {"csrfmiddlewaretoken": "Ab1"}


def refused(project: Path, start: Start, **settings: str) -> list[str]:
    """The lines that a start ends with."""
    with pytest.raises(Failed) as problem:
        start(APP_DIR=str(project), **settings)
    return str(problem.value).splitlines()


def test_a_database_that_is_away_is_one_line(project: Path, start: Start) -> None:
    line, failed = refused(project, start, DATABASE_URL="postgres://ann:secret@127.0.0.1:1/shop")
    assert line.startswith("manage.py: the database of DATABASE_URL cannot be reached: connection failed: ")
    assert failed == "`manage.py migrate` failed, as said above."


def test_the_last_request_of_a_worker_is_reported(project: Path, start: Start) -> None:
    append(project / "code/plainsite/urls.py", OWN_HEADERS + REPORTS)
    with receiving() as receiver:
        stack = start(APP_DIR=str(project), WORKERS="1", LARGE_WORKERS="0", **receiver.variables())
        assert {"opentelemetry", "sentry_sdk"} < set(stack.get("/modules/").json())
        failed_id = stack.get("/fail/").headers["X-Request-ID"]
        wait_until("an idle worker reports", lambda: any("exception" in event for event in receiver.events))
        trace = "0af7651916cd43dd8448eb211c80319c"
        kept = stack.get("/keep/7/", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
        kept_id = kept.headers["X-Request-ID"]
        wait_until("all has arrived", lambda: len(receiver.spans) >= 3 and len(receiver.events) >= 4)
        # The worker has ended in between, and was not killed.
        wait_until("its successor says why", lambda: [event.event for event in stack.recycles()] == ["rss"])
    spans = dict(receiver.spans)
    name = "GET /keep/<int:number>/"
    assert (spans[name]["lowtide.request_id"], spans[name]["trace"]) == (kept_id, trace)
    assert 149 < spans[name]["lowtide.peak_mb"] < 200
    assert (spans[name]["http.response.status_code"], spans[name]["service"]) == (200, "shop")
    assert spans["GET /fail/"]["http.response.status_code"] == 500
    errors = [event for event in receiver.events if "exception" in event]
    assert [event["tags"]["request_id"] for event in errors] == [failed_id]
    transactions = {event["transaction"]: event for event in receiver.events if event.get("type") == "transaction"}
    assert transactions[name]["tags"]["request_id"] == kept_id
    assert transactions[name]["contexts"]["trace"]["data"]["lowtide.peak_mb"] == spans[name]["lowtide.peak_mb"]


def test_who_never_answers_holds_no_worker(start: Start) -> None:
    with receiving(silent=True) as receiver:
        stack = start(APP_DIR=str(PLANTED), WORKERS="1", LARGE_WORKERS="0", **receiver.variables())
        pid = stack.get("/hold").text
        # What the application does at the end of a worker comes after the reports.
        wait_until("the worker ends in order", lambda: f"flushed {pid}" in stack.log())
        assert receiver.asked.is_set()
        wait_until("its successor says why", lambda: [event.event for event in stack.recycles()] == ["rss"])


def test_a_page_that_fails_stops_the_start(project: Path, start: Start) -> None:
    (project / "lowtide.toml").write_text(DESCRIPTION.replace('page = "/admin/login/"', 'page = "/"'))
    append(project / "code/plainsite/urls.py", BROKEN)
    lines = refused(project, start)
    assert lines[-1].startswith("The site is up, but its page / answers 500: the lines above may say why.")
    assert "RuntimeError: planted" in lines


def test_a_broken_contract_stops_the_start_with_one_line(project: Path, start: Start) -> None:
    """Settings that the stack does not wrap, and that serve static files at another address than nginx."""
    text = DESCRIPTION.replace('settings = "plainsite.settings"\n', "")
    (project / "lowtide.toml").write_text(text)
    append(project / "code/plainsite/settings.py", "INSTALLED_APPS += ['lowtide.django']\nSTATIC_URL = '/assets/'\n")
    lines = refused(project, start)
    assert any(
        "(lowtide.E002) STATIC_URL is '/assets/', and nginx serves the files at /static/" in line for line in lines
    )
    assert lines[-1] == "`manage.py migrate` failed, as said above."
    assert not any("Traceback" in line for line in lines)
