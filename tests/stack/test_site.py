"""The site as a browser and an API client see it, through real nginx and real uWSGI."""

import json
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from lowtide import memory, sample
from stack import Failed
from stack.local import supervisor
from tests import described
from tests.described import APPLICATION, NO_PAGE, PAGE
from tests.machine import CHECKOUT, free_port
from tests.stack.conftest import Stack, Start
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack


def access_log(stack: Stack, request_id: str) -> dict[str, object]:
    """The line of nginx's log for this request. It is written a moment after the answer, so wait for it."""
    for _ in range(50):
        for line in (stack.var / "log/access.log").read_text().splitlines():
            entry: dict[str, object] = json.loads(line)
            if entry["request_id"] == request_id:
                return entry
        time.sleep(0.1)
    raise AssertionError(f"no line for {request_id}")


@pytest.mark.smoke
def test_pages_answer(stack: Stack) -> None:
    for path in (PAGE, *described.small_paths(items=2000), "/healthz", "/readyz"):
        assert stack.get(path).status_code == 200, path
    assert stack.get(NO_PAGE).status_code == 404


def test_requests_before_the_fork_are_answered(stack: Stack) -> None:
    assert not [line for line in stack.log() if "before the fork" in line]


def test_security_headers_are_said_once(stack: Stack) -> None:
    # nginx itself answers for a file that is not there; a page may have a policy of the application's own.
    policy = stack.get("/static/none.css").headers.get("Content-Security-Policy", "")
    assert policy == APPLICATION.content_security_policy
    headers = stack.get(PAGE).headers
    assert ("Content-Security-Policy" in headers) >= bool(policy)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Server"] == "nginx"
    assert "Retry-After" not in headers


def test_workers_keep_their_database_connections_and_share_none(start: Start) -> None:
    def open_files(pid: int) -> set[str]:
        return {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}

    stack = start()
    database = str(stack.var / "db.sqlite3")
    master = sample.stats(str(stack.var / "run/stats.sock"))["pid"]
    assert database not in open_files(master)
    for _ in range(20):
        assert stack.get(PAGE).status_code == 200
    assert any(database in open_files(worker["pid"]) for worker in stack.workers())


@pytest.mark.smoke
def test_static_files_are_kept_where_their_names_allow_it(stack: Stack) -> None:
    style = described.stylesheet(stack.get(PAGE).text)
    answer = stack.get(style)
    assert answer.status_code == 200
    assert bool(re.search(r"\.[0-9a-f]{8,}\.css$", style)) >= APPLICATION.hashed_static
    assert answer.headers["Cache-Control"] == described.STATIC_CACHE
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.smoke
def test_the_request_id_is_in_answer_and_log(stack: Stack) -> None:
    answer = stack.get(PAGE)
    entry = access_log(stack, answer.headers["X-Request-ID"])
    assert (entry["status"], entry["uri"], entry["pool"], entry["upstream_status"]) == (
        200,
        PAGE,
        "small",
        "200",
    )
    assert float(str(entry["upstream_seconds"])) > 0


def test_the_request_id_is_in_djangos_log_and_cannot_be_forged(stack: Stack) -> None:
    answer = stack.get(NO_PAGE, headers={"X-Request-ID": "forged"})
    request_id = answer.headers["X-Request-ID"]
    assert request_id != "forged"
    wait_until("it is logged", lambda: any(request_id in line for line in stack.log()))
    (line,) = [json.loads(line) for line in stack.log() if request_id in line]
    assert line | {"time": 0} == {
        "event": "log",
        "time": 0,
        "level": "warning",
        "request_id": request_id,
        "logger": "django.request",
        "message": f"Not Found: {NO_PAGE}",
        "status": 404,
    }


def test_a_form_is_accepted_from_the_sites_own_address(stack: Stack) -> None:
    """A browser sends scheme, host and port in Origin, and Django compares them with what nginx passes on."""
    stack.environment["DJANGO_SUPERUSER_PASSWORD"] = "a-password-for-tests"
    words = ("createsuperuser", "--noinput", "--username=ann", "--email=ann@shop.example")
    made = stack.control("run", *described.MANAGE, *words)
    assert made.returncode == 0, made.stderr
    with requests.Session() as browser:
        login = f"{stack.url}/admin/login/?next=/admin/"
        form_page = browser.get(login, timeout=30)
        if form_page.status_code == 404:
            pytest.skip("this application has no admin to log in to")
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', form_page.text)
        assert token
        form = {"username": "ann", "password": "a-password-for-tests", "csrfmiddlewaretoken": token[1]}
        elsewhere = browser.post(login, data=form, headers={"Origin": "http://127.0.0.1:1"}, timeout=30)
        assert elsewhere.status_code == 403
        admin = browser.post(login, data=form, headers={"Origin": stack.url}, timeout=30)
        assert (admin.status_code, admin.url) == (200, f"{stack.url}/admin/")
        for asset in re.findall(r'"(/static/admin/[^"]+\.(?:css|js))"', admin.text):
            assert browser.get(stack.url + asset, timeout=30).status_code == 200, asset


def test_the_host_is_the_one_that_nginx_went_by(stack: Stack) -> None:
    """If the request line has a full URL, the host in it counts (RFC 9112, 3.2.2), and not the header Host."""

    def status(target: str, host: str) -> str:
        address = urlsplit(stack.url)
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode())
            return connection.makefile().readline().split()[1]

    assert status(f"http://127.0.0.1{PAGE}", "evil.example") == "200"
    assert status(f"http://evil.example{PAGE}", "127.0.0.1") == "400"


def test_a_body_over_the_limit_is_refused_in_the_format_asked_for(start: Start) -> None:
    stack = start(MAX_BODY_MB="1", WORKERS="2")
    body = b"[" + b" " * (1 << 20) + b"]"
    answer = stack.post_large(body)
    assert answer.status_code == 413
    assert answer.json()["error"] == "body_too_large"
    assert answer.headers["Content-Type"].startswith("application/json")
    wanted = {"Accept": "text/html,*/*;q=0.8"}
    html = requests.post(stack.url + described.large().path, data=body, headers=wanted, timeout=30)
    assert html.status_code == 413
    assert "<h1>This request is too large</h1>" in html.text
    assert html.headers["X-Content-Type-Options"] == "nosniff"


def test_an_application_that_is_away_is_a_friendly_503(start: Start) -> None:
    stack = start(WORKERS="2")
    supervisor(stack.local.env, "stopProcess", "uwsgi")
    page = stack.get(PAGE, headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["Retry-After"]) == (503, "5")
    assert "<h1>The site is busy</h1>" in page.text
    answer = stack.get(PAGE, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (503, "busy")


@pytest.mark.parametrize("status", [413, 502, 503, 504])
def test_each_error_page_has_both_formats(status: int) -> None:
    folder = CHECKOUT / "nginx/errors"
    assert json.loads((folder / f"{status}.json").read_text())["status"] == status
    assert "<h1>" in (folder / f"{status}.html").read_text()


def test_the_client_address_is_taken_from_a_trusted_proxy(start: Start) -> None:
    trusting = start(TRUSTED_PROXY="127.0.0.0/8", WORKERS="2")
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    answer = trusting.get(PAGE, headers=forwarded)
    assert access_log(trusting, answer.headers["X-Request-ID"])["client"] == "203.0.113.9"
    wary = start(TRUSTED_PROXY="192.0.2.1/32", WORKERS="2")
    answer = wary.get(PAGE, headers=forwarded)
    assert access_log(wary, answer.headers["X-Request-ID"])["client"] == "127.0.0.1"


def test_https_is_believed_from_a_trusted_proxy_only(start: Start) -> None:
    forwarded = {"X-Forwarded-Proto": "https"}
    trusting = start(HTTPS="on", TRUSTED_PROXY="127.0.0.0/8", WORKERS="2")
    assert trusting.get(PAGE, headers=forwarded, allow_redirects=False).status_code == 200
    wary = start(HTTPS="on", TRUSTED_PROXY="192.0.2.1/32", WORKERS="2")
    assert wary.get(PAGE, headers=forwarded, allow_redirects=False).status_code == 301


@pytest.mark.smoke
def test_only_loopback_is_bound(stack: Stack) -> None:
    port = urlsplit(stack.url).port
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    addresses = {line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{port}")}
    assert addresses == {f"127.0.0.1:{port}"}


def test_a_stop_lets_the_request_in_flight_finish(start: Start, feed: bytes) -> None:
    stack = start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stack.post_large, feed)
        while not any(worker["status"] == "busy" for worker in stack.workers()):
            time.sleep(0.01)
        assert stack.control("down").returncode == 0
        assert answer.result().status_code == 200
    assert "goodbye to uWSGI." in stack.log()


def test_a_port_in_use_is_said(stack: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        second = Stack("", stack.var, stack.environment | {"PORT": port, "VAR_DIR": str(stack.var / "second")})
        done = second.control("up")
    assert done.returncode == 2
    assert done.stderr.strip() == f"Port {port} is in use: stop what listens there, or choose another with PORT=..."


def test_a_port_that_is_taken_while_the_stack_starts_is_said(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check before the start sees a free port; nginx, a moment later, does not.
    monkeypatch.setattr("stack.local.check_free", lambda *_: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        late = Stack("", stack.var, stack.environment | {"PORT": port, "VAR_DIR": str(stack.var / "late")})
        with pytest.raises(Failed, match=rf"bind\(\) to 127.0.0.1:{port} failed") as problem:
            late.local.up()
    assert "nginx ends as soon as it is started" in str(problem.value)


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("WORKERS", "four", "WORKERS=four cannot be used: write a whole number of at least 1."),
        ("LARGE_WORKERS", "4", "LARGE_WORKERS=4 of WORKERS=4 leaves none for small requests"),
        ("WORKER_MANAGEMENT", "lowtied", "WORKER_MANAGEMENT=lowtied does not exist"),
        ("PORT", "0", "PORT=0 is not a port"),
        ("BIND", "localhost", "BIND=localhost is not an IPv4 address"),
        ("BIND", "192.0.2.1", "nginx cannot listen on BIND=192.0.2.1"),
        ("MAX_BODY_MB", "32m", "MAX_BODY_MB=32m cannot be used: write a whole number, 1 or more."),
        ("TRUSTED_PROXY", "balancer", "TRUSTED_PROXY=balancer cannot be used: write one address or block"),
        ("LARGE_IN_FLIGHT", "0", "LARGE_IN_FLIGHT=0 cannot be used: write a whole number from 1"),
        ("DATABASE_URL", "postgres://a:b@127.0.0.1:1/c", "the database of DATABASE_URL cannot be reached"),
        ("SECRET_KEY", "", "SECRET_KEY is not set"),
        ("SECRETS_FILE", "/nowhere", "SECRETS_FILE=/nowhere cannot be read: No such file or directory."),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting: str, value: str, says: str, stack: Stack) -> None:
    other = stack.environment | {"PORT": str(free_port()), "VAR_DIR": str(stack.var / "third"), setting: value}
    done = Stack("", stack.var, other).control("up")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_server_that_does_not_stay_up_is_said_at_once(stack: Stack) -> None:
    # uWSGI takes variables UWSGI_* for options, and with `strict` refuses to start for one that it does not know.
    broken = {"UWSGI_NO_SUCH_OPTION": "1", "PORT": str(free_port()), "VAR_DIR": str(stack.var / "fourth")}
    done = Stack("", stack.var, stack.environment | broken).control("up")
    assert done.returncode == 2
    assert "no-such-option" in done.stderr
    assert "uwsgi ends as soon as it is started" in done.stderr


def test_starting_twice_starts_anew(start: Start) -> None:
    stack = start(WORKERS="2")
    before = [worker["pid"] for worker in stack.workers()]
    assert stack.control("up").returncode == 0
    assert not set(before) & {worker["pid"] for worker in stack.workers()}


def test_only_the_application_has_the_secrets(stack: Stack) -> None:
    secrets = [stack.environment[name] for name in ("SECRET_KEY", *described.APPLICATION.secrets)]
    with_secrets = set()
    for pid in memory.tree(int((stack.var / "run/supervisord.pid").read_text())):
        with suppress(FileNotFoundError, ProcessLookupError):
            text = Path(f"/proc/{pid}/environ").read_bytes().decode()
            if any(secret in text for secret in secrets):
                with_secrets.add(Path(f"/proc/{pid}/comm").read_text().strip())
    assert with_secrets == {"supervisord", "uwsgi"}
