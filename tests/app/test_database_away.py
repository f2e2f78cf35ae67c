"""A PostgreSQL server that stalls, goes away and comes back, under the application as it is served."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.app.feeds import TOKEN
from tests.machine import CHECKOUT
from tests.postgresql import postgresql

pytestmark = pytest.mark.slow
Said = dict[str, list[Any]]
# This program stands for a worker. It answers a few requests in each state of the server, and prints the outcome.
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

def ask(path="/catalog/export.json", **more):
    begun = time.monotonic()
    environ = {"PATH_INFO": path, "HTTP_AUTHORIZATION": "Bearer of-the-tests"} | more
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

LINES = [json.dumps({"sku": f"SKU-{number}", "name": "n", "category": "c", "description": "d", "price": "1",
                     "stock": 1}).encode() + b"\\n" for number in range(2000)]

class Body:
    "The lines of a feed; before one of them the server throws everybody out."

    def __init__(self, out_at):
        self.number, self.out_at = 0, out_at

    def readline(self, size=-1):
        self.number += 1
        if self.number == self.out_at:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                os.kill(cursor.fetchone()[0], signal.SIGTERM)
        return b"".join(LINES[self.number - 1 : self.number])

    def read(self, size=-1):
        left, self.number = LINES[self.number :], len(LINES)
        return b"".join(left)

def feed(out_at):
    body = {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-ndjson", "wsgi.input": Body(out_at)}
    answer = ask("/catalog/import/", CONTENT_LENGTH=str(sum(map(len, LINES))), **body)
    return [*answer, Product.objects.count()]

from catalog.models import Product
said["import"] = [feed(1200), feed(0), feed(0)]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> Said:
    with postgresql() as url:
        environment = os.environ | {"DATABASE_URL": url, "DATABASE_TIMEOUT": "2", "HTTPS": "off", "IMPORT_TOKEN": TOKEN}
        environment |= {"PYTHONPATH": f"{CHECKOUT}/app:{CHECKOUT}"}
        command = [sys.executable, "-c", WORKER]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    # Two requests and a health check met the stalled server, and each logged that once.
    assert done.stderr.count("The database does not answer") == 1
    assert done.stderr.count("Not ready") == 1
    said: Said = json.loads(done.stdout.splitlines()[-1])
    return said


def test_a_database_that_stalls_is_a_fast_503(said: Said) -> None:
    (first, retry, first_s), (second, _, second_s), (ready, _, ready_s), (alive, _, _) = said["stalled"]
    assert said["before"][0][0] == said["before"][1][0] == 200
    assert (first, second, ready, alive) == (503, 503, 503, 200)
    assert retry == "5"
    # Only the first request waited until it was clear that the server is silent.
    assert max(second_s, ready_s) < first_s / 5


def test_a_database_that_comes_back_is_used_again(said: Said) -> None:
    assert [status for status, _, _ in said["after"]] == [200, 200]


def test_an_import_in_which_the_server_goes_is_stored_when_it_is_sent_again(
    said: Said,
) -> None:
    """The interrupted import stores nothing, and the import that is sent twice stores nothing twice."""
    assert [(status, count) for status, _, _, count in said["import"]] == [(503, 0), (200, 2000), (200, 2000)]


def test_a_connection_that_the_server_closed_is_opened_again(
    said: Said,
) -> None:
    assert [status for status, _, _ in said["thrown out"]] == [200]
