"""The Memory tab of Locust's page, in a browser and in its report. The test sets what the page of metrics says."""

import csv
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from loadtest.load.live import chart
from loadtest.load.live.recorder import MIB, Gap, Reading, Recorder, Run, to_csv
from tests.machine import CHECKOUT, free_port
from tests.stack.edge import wait_until

LOCUSTFILE = Path(__file__).parent / "live/locustfile.py"


class Metrics(BaseHTTPRequestHandler):
    """Answers as `lowtide.metrics` does, and on / as the site under load does."""

    pss_mb = 100.0
    up = 1
    ended: dict[str, int]

    @classmethod
    def text(cls) -> str:
        workers = "".join(
            f'lowtide_worker_pss_bytes{{worker_id="{number}"}} {cls.pss_mb / 4 * MIB}\n'
            f'uwsgi_worker_requests_total{{worker_id="{number}"}} {number}\n'
            for number in (1, 2)
        )
        ended = "".join(f'lowtide_recycles_total{{reason="{name}"}} {count}\n' for name, count in cls.ended.items())
        route = '{method="GET",route="/a<b>\\"c/"}'
        if not cls.up:
            return "lowtide_up 0\n"
        return (
            f"lowtide_up 1\nlowtide_memory_pss_bytes {cls.pss_mb * MIB}\nlowtide_memory_limit_bytes {300 * MIB}\n"
            f"lowtide_oom_kills_total 0\nlowtide_route_peak_max_bytes{route} {7 * MIB}\n{workers}{ended}"
        )

    def do_GET(self) -> None:
        body = self.text().encode() if self.path == "/metrics" else b"ok"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def site() -> Iterator[str]:
    Metrics.pss_mb, Metrics.up, Metrics.ended = 100.0, 1, {"rss": 3, "oom": 0}
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def environment(site: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LOWTIDE_METRICS": f"{site}/metrics"}


def command(site: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", site, *words]


@contextmanager
def locust(site: str, *words: str, **variables: str) -> Iterator[str]:
    port = free_port()
    said = command(site, "--web-host", "127.0.0.1", "--web-port", str(port), *words)
    variables |= environment(site)
    with subprocess.Popen(said, cwd=CHECKOUT, env=variables, stderr=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until("Locust answers", lambda: answers(url), 60)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5, allow_redirects=False).status_code < 500
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium. On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # On a busy machine a page takes longer than Playwright's 5 s.
        expect.set_options(timeout=30_000)
        yield running
        running.close()


def watched(browser: Browser, width: int, height: int, scheme: Any) -> tuple[Page, list[str]]:
    """A page, and what must stay empty: errors it said, and requests to anywhere but this machine."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    wrong: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            wrong.append(request.url)

    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", asked)
    return page, wrong


@pytest.mark.slow
def test_the_tab_shows_a_run_and_what_comes_after_it(browser: Browser, site: str) -> None:
    with locust(site, "--users", "2", "--spawn-rate", "2") as url:
        page, wrong = watched(browser, 1280, 900, "light")
        page.goto(url)
        page.get_by_role("button", name="Start").click()
        page.get_by_role("tab", name="Memory").click()
        tab = page.frame_locator("#lowtide-memory")
        expect(tab.locator("#now")).to_contain_text("100.0 MiB")
        expect(tab.locator("#workers tbody tr")).to_have_count(2)
        expect(tab.locator("#routes td").first).to_have_text('GET /a<b>"c/')
        expect(tab.locator("svg .limit")).to_have_count(1)
        expect(tab.locator("svg .ideal")).to_have_count(1)
        expect(tab.locator("svg polyline.memory")).to_have_attribute("stroke", chart.LIGHT["memory"])

        Metrics.pss_mb, Metrics.ended = 250.0, {"rss": 5, "oom": 1}
        expect(tab.locator("#now")).to_contain_text("250.0 MiB")
        expect(tab.locator("svg .mark")).to_have_count(3)
        tab.get_by_label("a line for each worker").check()
        expect(tab.locator("svg polyline.worker")).to_have_count(2)
        phone, wrong_on_phone = watched(browser, 390, 844, "dark")
        phone.goto(f"{url}/?tab=memory")
        narrow = phone.frame_locator("#lowtide-memory")
        expect(narrow.locator("html")).to_have_class("dark")
        expect(narrow.locator("#now")).to_contain_text("250.0 MiB")

        page.get_by_role("button", name="Stop").click()
        # Locust's own page may stop asking before its users have ended, and then shows "cleanup" for good.
        wait_until(
            "it has stopped", lambda: not requests.get(f"{url}/memory/data.json", timeout=20).json()["running"], 60
        )
        Metrics.pss_mb = 110.0
        expect(tab.locator("#now")).to_contain_text("110.0 MiB")
        Metrics.up = 0
        expect(tab.locator("#gap")).to_have_text("No figures: the server does not answer")
        expect(tab.locator("svg .gap title")).to_have_text("No figures: the server does not answer")
        Metrics.up = 1
        expect(tab.locator("#now")).to_contain_text("110.0 MiB")

        with page.expect_download() as download:
            tab.get_by_role("link", name="Download CSV").click()
        rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
        figures = [row["pss_mb"] for row in rows]
        assert list(dict.fromkeys(figures)) == ["100.0", "250.0", "110.0", ""]
        assert [row["gap"] for row in rows if not row["pss_mb"]] == ["the server does not answer"]
        report = requests.get(f"{url}/stats/report", timeout=20).text
        assert 'id="lowtide-memory"' in report

        expect(narrow.locator("#now")).to_contain_text("110.0 MiB")
        expect(narrow.locator("svg polyline.memory").first).to_have_attribute("stroke", chart.DARK["memory"])
        assert narrow.locator("body").evaluate("body => body.scrollWidth <= document.documentElement.clientWidth")
        assert wrong == wrong_on_phone == []


@pytest.mark.slow
def test_headless_on_a_master_the_report_has_the_picture(site: str, tmp_path: Path) -> None:
    words = (
        "--headless",
        "--processes",
        "1",
        "--users",
        "1",
        "--run-time",
        "4s",
        "--html",
        str(tmp_path / "report.html"),
    )
    done = subprocess.run(command(site, *words), cwd=CHECKOUT, env=environment(site), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    picture = (tmp_path / "report.html").read_text().partition('<section id="lowtide-memory"')[2]
    (points,) = re.findall(r'<polyline class="memory" points="([^"]+)"', picture)
    assert len(points.split()) >= 2


@pytest.mark.slow
def test_the_tab_asks_for_locusts_login(site: str) -> None:
    with locust(site, "--web-login") as url:
        for path in ("", "/data.json", "/chart.svg", "/memory.csv"):
            answer = requests.get(f"{url}/memory{path}", timeout=10, allow_redirects=False)
            assert "pss_mb" not in answer.text
            assert "<svg" not in answer.text
            assert answer.status_code == 302 or "Locust auth exception" in answer.text


@pytest.mark.slow
def test_another_variant_is_started_by_the_command_that_started_the_page(site: str, tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    told: list[str] = []

    def answer(listener: socket.socket) -> None:
        for reply in ("started", "It does not start."):
            with listener.accept()[0] as connection, connection.makefile("rw") as words:
                told.append(words.readline())
                words.write(f"{reply}\n")

    control = {"LOWTIDE_CONTROL": path, "LOWTIDE_VARIANTS": "without lowtide", "LOWTIDE_VARIANT": "without"}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        thread = threading.Thread(target=answer, args=(listener,), daemon=True)
        thread.start()
        with locust(site, **control) as url:

            def switch(name: str) -> requests.Response:
                return requests.post(f"{url}/memory/variant", json={"variant": name}, timeout=20)

            assert switch("lowtide").json() == {"problem": ""}
            assert requests.get(f"{url}/memory/data.json", timeout=10).json()["variant"] == "lowtide"
            assert switch("without").json() == {"problem": "It does not start."}
            assert requests.get(f"{url}/memory/data.json", timeout=10).json()["variant"] == "lowtide"
            assert switch("other").status_code == 404
            form = requests.post(f"{url}/memory/variant", {"variant": "without"}, timeout=20)
            assert form.status_code == 404
        thread.join(5)
    assert told == ["lowtide\n", "without\n"]


def recorded(site: str) -> Recorder:
    return Recorder(f"{site}/metrics", lambda: 7, "lowtide")


def test_a_restart_is_a_gap_and_no_end_of_workers(site: str) -> None:
    recorder = recorded(site)
    recorder.read()
    recorder.start()
    recorder.read()
    recorder.away = "without is being started"
    recorder.read()
    recorder.read()
    recorder.away, Metrics.ended = "", {"rss": 0, "oom": 0}
    recorder.read()
    Metrics.ended = {"rss": 2, "oom": 0}
    recorder.read()
    (run,) = recorder.runs
    kinds = [type(row) for row in run.readings]
    assert kinds == [Reading, Gap, Reading, Reading]
    assert [reason for _, reason in run.marks] == ["rss", "rss"]
    assert run.idle_mb == 100
    # A line ends at the gap and another begins after it.
    assert chart.svg(recorder.runs).count('<polyline class="memory"') == 2


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:1/metrics", "the page of metrics cannot be read: [Errno 111] Connection refused"),
        ("metrics", "LOWTIDE_METRICS=metrics is no address: write http://HOST:PORT/metrics"),
        ("{site}/", "this is not a page of lowtide.metrics"),
    ],
)
def test_what_is_no_page_of_metrics_is_a_gap_with_a_reason(address: str, says: str, site: str) -> None:
    recorder = Recorder(address.format(site=site), lambda: 0, "lowtide")
    recorder.start()
    recorder.read()
    assert [row.reason for row in recorder.runs[0].readings if isinstance(row, Gap)] == [says]
    assert next(csv.DictReader(io.StringIO(to_csv(recorder.runs))))["gap"] == says


def test_figures_of_the_next_variant_do_not_belong_to_the_last_run(site: str) -> None:
    recorder = recorded(site)
    recorder.start()
    recorder.read()
    recorder.end()
    recorder.read()
    assert len(recorder.runs[0].readings) == 1


def test_two_runs_of_one_variant_have_two_names_and_are_drawn_over_each_other(site: str) -> None:
    recorder = recorded(site)
    for _ in range(2):
        recorder.start()
        recorder.read()
    assert [run.label for run in recorder.runs] == ["lowtide", "lowtide #2"]
    assert chart.svg(recorder.runs).count('<polyline class="memory"') == 2


def test_the_curve_lies_where_the_grid_says(site: str) -> None:
    recorder, told = recorded(site), [80.0, 250.0, 110.0]
    recorder.start()
    for Metrics.pss_mb in told:
        recorder.read()
    picture = chart.svg(recorder.runs)
    colour = f'text-anchor="end" fill="{chart.LIGHT["memory"]}"'
    grid = re.findall(rf'y="([\d.]+)" {colour}>([\d,]+)</text>', picture)
    (y0, low), (y1, high) = ((float(y), float(label)) for y, label in (grid[0], grid[-1]))
    (points,) = re.findall(r'<polyline class="memory" points="([^"]+)"', picture)
    # A label stands 4 below its line.
    drawn = [low + (y0 - 4 - float(point.split(",")[1])) / (y0 - y1) * (high - low) for point in points.split()]
    assert drawn == pytest.approx(told, abs=0.5)


def test_a_run_that_has_no_reading_yet_is_drawn() -> None:
    assert "No figures yet" in chart.svg([Run("without", started=1.0, idle_mb=None)])
