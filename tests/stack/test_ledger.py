"""The figures of the ledger for planted requests with known peaks, sent through nginx and uWSGI."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from typing import Any

import pytest

from lowtide import ledger, metrics
from lowtide.tools import cli
from tests.described import PAGE
from tests.stack.conftest import PLANTED, Stack, Start
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack
PEAKS_MB = (12, 30, 55)


def ask(stack: Stack, requests: int) -> None:
    """Send small requests, and between them some that take memory, four at a time."""
    paths = [f"/take/{PEAKS_MB[number % 3]}/" if number % 5 == 0 else f"/item/{number}/" for number in range(requests)]
    with ThreadPoolExecutor(4) as pool:
        assert {answer.status_code for answer in pool.map(stack.get, paths)} == {200}


def routes(stack: Stack) -> dict[str, ledger.Route]:
    return {route.route: route for route in ledger.read(stack.var / "run/ledger")[0]}


def wait_for(stack: Stack, route: str, count: int) -> None:
    """A request is entered after its answer was sent."""

    def entered() -> bool:
        row = routes(stack).get(route)
        return row is not None and row.count >= count

    wait_until(f"{count} requests of {route} are entered", entered)


def lines(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.log() if line.startswith('{"event": "large-request"')]


def test_the_peak_of_each_route_is_known(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Send a thousand requests, and kill a worker after half of them: the figures so far must not be lost."""
    stack = start(APP_DIR=str(PLANTED))
    ask(stack, 500)
    wait_for(stack, "/item/{id}/", 400)
    wait_for(stack, "/take/{id}/", 100)
    assert stack.get("/die").status_code == 502
    ask(stack, 500)
    wait_for(stack, "/item/{id}/", 800)
    wait_for(stack, "/take/{id}/", 200)
    assert cli.main(["top", "--stats", str(stack.var / "run/stats.sock"), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    shown = {route["route"]: route for route in document["routes"]}
    # Numbers in paths are replaced by a placeholder, so the three sizes are one route. Its histogram tells them apart.
    assert shown["/item/{id}/"]["count"] == 800
    assert shown["/item/{id}/"]["peak_p50_mb"] < 1
    assert shown["/take/{id}/"]["count"] == 200
    assert shown["/take/{id}/"]["peak_max_mb"] == pytest.approx(55, rel=0.1)
    assert shown["/take/{id}/"]["peak_p50_mb"] == pytest.approx(30, rel=0.1)
    assert {worker["pss_mb"] > 0 for worker in document["workers"]} == {True}


@pytest.mark.parametrize("peak_mb", PEAKS_MB)
def test_each_known_peak_is_told_within_a_tenth(start: Start, peak_mb: int) -> None:
    stack = start(APP_DIR=str(PLANTED), LEDGER="10")
    for number in range(40):
        stack.get(f"/take/{peak_mb}/" if number % 2 else "/")
    wait_for(stack, "/take/{id}/", 20)
    route = routes(stack)["/take/{id}/"]
    assert route.count == 20
    assert route.peak_mb(0.5) == pytest.approx(peak_mb, rel=0.1)
    assert route.peak_max_mb == pytest.approx(peak_mb, rel=0.1)
    assert route.retained_mb / route.count < 2
    wait_until("all lines are written", lambda: len(lines(stack)) == 20)
    assert [line["peak_mb"] for line in lines(stack)] == [pytest.approx(peak_mb, rel=0.1)] * 20
    assert {(line["status"], line["method"], len(line["request_id"])) for line in lines(stack)} == {(200, "GET", 32)}


def test_without_it_there_is_no_table(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    stack = start(APP_DIR=str(PLANTED), LEDGER="0")
    stack.get("/")
    assert not (stack.var / "run/ledger").exists()
    assert cli.main(["top", "--stats", str(stack.var / "run/stats.sock"), "--once"]) == 2
    assert "is LEDGER=0 set?" in capsys.readouterr().err


def test_django_names_the_pattern(stack: Stack) -> None:
    stack.get(PAGE)
    stack.get("/nothing/here/")
    wait_for(stack, ledger.NO_ROUTE, 1)
    told = routes(stack)
    assert told[PAGE].count >= 1
    assert ledger.NO_ROUTE in told


def test_metrics_say_the_same(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    served = sum(stack.served())
    stack.get(PAGE)
    stack.served(at_least=served + 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), metrics.handler(metrics.Server(stack.var / "run"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        assert cli.main(["top", "--metrics", url, "--format", "json"]) == 0
        server.shutdown()
    (route,) = (row for row in json.loads(capsys.readouterr().out)["routes"] if row["route"] == PAGE)
    assert route["count"] == routes(stack)[PAGE].count
    assert route["peak_max_mb"] == pytest.approx(routes(stack)[PAGE].peak_max_mb, abs=0.1)


def test_the_list_of_large_routes_is_printed_to_be_pasted(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    stack = start(APP_DIR=str(PLANTED))
    for path in ("/take/60/", "/", "/take/50/"):
        stack.get(path)
    stack.served(at_least=3)
    assert cli.main(["top", "--stats", str(stack.var / "run/stats.sock"), "--routes"]) == 0
    comment, line = capsys.readouterr().out.splitlines()
    assert comment.startswith("# GET /take/{id}/: 2 requests, peak p50 ")
    assert line == 'large = ["/take/*"]'
