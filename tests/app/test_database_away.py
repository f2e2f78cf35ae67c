"""A PostgreSQL server that stalls, goes away and comes back, under the application as it is served."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.feeds import TOKEN
from tests.app.postgresql import postgresql

CHECKOUT = Path(__file__).resolve().parents[2]
# A worker: answers a few requests in each state of the server, and says what became of them.
WORKER = """
import json, os, signal, sys, time
import django
django.setup()
from django.core.management import call_command
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from wsgiref.util import setup_testing_defaults
application = WSGIHandler()
call_command("migrate", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("SELECT pg_backend_pid()")
    status = open(f"/proc/{cursor.fetchone()[0]}/status").read()
postmaster = int(status.split("PPid:")[1].split()[0])

def server():
    "The server's processes, those of its connections first."
    found = [postmaster]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"PPid:\\t{postmaster}\\n" in open(f"/proc/{pid}/status").read():
                found.insert(0, int(pid))
        except OSError:
            pass
    return found

def tell(number):
    for pid in server():
        os.kill(pid, number)

def ask(path="/catalog/export.json"):
    begun = time.monotonic()
    environ = {"PATH_INFO": path, "HTTP_AUTHORIZATION": "Bearer of-the-tests"}
    setup_testing_defaults(environ)
    heads = []
    response = application(environ, lambda status, headers: heads.append((int(status[:3]), dict(headers))))
    list(response)
    # Ends the request, and with it connections that went wrong.
    response.close()
    return heads[0][0], heads[0][1].get("Retry-After"), time.monotonic() - begun

def until_it_answers():
    for _ in range(300):
        if (answer := ask())[0] == 200:
            return answer
        time.sleep(0.1)
    return answer

said = {"before": [ask(), ask("/readyz")]}
tell(signal.SIGSTOP)
try:
    said["stalled"] = [ask(), ask(), ask("/readyz"), ask("/healthz")]
finally:
    tell(signal.SIGCONT)
said["after"] = [until_it_answers(), ask("/readyz")]
for pid in server()[:-1]:
    with open(f"/proc/{pid}/cmdline") as line:
        if "[local]" in (text := line.read()) or "127.0.0.1" in text:
            os.kill(pid, signal.SIGTERM)
said["thrown out"] = [ask()]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, list[tuple[int, str | None, float]]]:
    with postgresql() as url:
        environment = os.environ | {"DATABASE_URL": url, "DATABASE_TIMEOUT": "2", "HTTPS": "off", "IMPORT_TOKEN": TOKEN}
        environment |= {"PYTHONPATH": f"{CHECKOUT}/app:{CHECKOUT}"}
        command = [sys.executable, "-c", WORKER]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    # Two requests and a health check found it stalled; each said so once.
    assert done.stderr.count("The database does not answer") == 1
    assert done.stderr.count("Not ready") == 1
    found: dict[str, list[tuple[int, str | None, float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_database_that_stalls_is_a_fast_503(said: dict[str, list[tuple[int, str | None, float]]]) -> None:
    (first, retry, first_s), (second, _, second_s), (ready, _, ready_s), (alive, _, _) = said["stalled"]
    assert said["before"][0][0] == said["before"][1][0] == 200
    assert (first, second, ready, alive) == (503, 503, 503, 200)
    assert retry == "5"
    # Only the first had to find out.
    assert max(second_s, ready_s) < first_s / 5


def test_a_database_that_comes_back_is_used_again(said: dict[str, list[tuple[int, str | None, float]]]) -> None:
    assert [status for status, _, _ in said["after"]] == [200, 200]


def test_a_connection_that_the_server_closed_is_opened_again(
    said: dict[str, list[tuple[int, str | None, float]]],
) -> None:
    assert [status for status, _, _ in said["thrown out"]] == [200]
