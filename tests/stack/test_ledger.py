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


def ask(stack: Stack, requests: int) -> dict[str, int]:
    """Send small requests, and between them some that take memory, four at a time. Their peaks by request id."""
    peaks_mb = [PEAKS_MB[number % 3] if number % 5 == 0 else 0 for number in range(requests)]
    paths = [f"/take/{mb}/" if mb else f"/item/{number}/" for number, mb in enumerate(peaks_mb)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(stack.get, paths))
    assert {answer.status_code for answer in answers} == {200}
    return {answer.headers["X-Request-ID"]: mb for answer, mb in zip(answers, peaks_mb, strict=True) if mb}


def routes(stack: Stack) -> dict[str, ledger.Route]:
    """By route; of a route that was asked with several methods the row of GET."""
    rows = sorted(ledger.read(stack.var / "run/ledger")[0], key=lambda row: row.method == "GET")
    return {row.route: row for row in rows}


def wait_for(stack: Stack, route: str, count: int) -> None:
    """A request is entered after its answer was sent."""

    def entered() -> bool:
        row = routes(stack).get(route)
        return row is not None and row.count >= count

    wait_until(f"{count} requests of {route} are entered", entered)


def lines(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.log() if line.startswith('{"event": "large-request"')]


def test_the_peak_of_each_request_is_known(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Send a thousand requests, and kill a worker after half of them: the figures so far must not be lost."""
    stack = start(APP_DIR=str(PLANTED), LEDGER="10")
    peaks_mb = ask(stack, 500)
    wait_for(stack, "/item/{id}/", 400)
    wait_for(stack, "/take/{id}/", 100)
    assert stack.get("/die").status_code == 502
    peaks_mb |= ask(stack, 500)
    wait_for(stack, "/item/{id}/", 800)
    wait_for(stack, "/take/{id}/", 200)
    stats = str(stack.var / "run/stats.sock")
    assert cli.main(["top", "--stats", stats, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    shown = {route["route"]: route for route in document["routes"]}
    # Numbers in paths are replaced by a placeholder, so the three sizes are one route. Its histogram tells them apart.
    small, large = shown["/item/{id}/"], shown["/take/{id}/"]
    assert (small["count"], large["count"]) == (800, 200)
    assert small["peak_p50_mb"] < 1
    assert [large["peak_p50_mb"], large["peak_max_mb"]] == [pytest.approx(mb, rel=0.1) for mb in (30, 55)]
    assert large["retained_mb"] / 200 < 2
    assert {worker["pss_mb"] > 0 for worker in document["workers"]} == {True}
    assert sorted(worker["last_reason"] for worker in document["workers"]) == ["", "", "", "died"]
    wait_until("all lines are written", lambda: len(lines(stack)) == 200)
    assert {line["request_id"]: line["peak_mb"] for line in lines(stack)} == {
        request: pytest.approx(mb, rel=0.1) for request, mb in peaks_mb.items()
    }
    assert {(line["status"], line["method"]) for line in lines(stack)} == {(200, "GET")}
    assert cli.main(["top", "--stats", stats, "--routes"]) == 0
    comment, line = capsys.readouterr().out.splitlines()
    assert comment.startswith("# /take/* is missing: GET /take/{id}/: 200 requests, peak p50 ")
    assert json.loads(line.removeprefix("large = "))[-1] == "/take/*"


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
    rows = json.loads(capsys.readouterr().out)["routes"]
    (route,) = (row for row in rows if (row["route"], row["method"]) == (PAGE, "GET"))
    assert route["count"] == routes(stack)[PAGE].count
    assert route["peak_max_mb"] == pytest.approx(routes(stack)[PAGE].peak_max_mb, abs=0.1)
