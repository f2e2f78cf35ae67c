"""`make up OBSERVE=1`: the page of metrics beside the running stack."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from loadtest.load.live import recorder
from lowtide import memory, sample
from lowtide.tools.page import samples
from stack import local
from tests.machine import CHECKOUT, free_port
from tests.page import figures
from tests.stack.conftest import PLANTED, Stack, start_stack
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack
MIB = 1 << 20


def observed_stack(folder: str, **settings: str) -> Stack:
    if not shutil.which("prometheus"):
        pytest.skip("Prometheus is not installed. On Debian: apt-get install prometheus")
    ports = {name: str(free_port()) for name in ("METRICS_PORT", "PROMETHEUS_PORT")}
    return start_stack(Path(folder), OBSERVE="1", APP_DIR=str(PLANTED), **ports, **settings)


@pytest.fixture(scope="module")
def observed() -> Iterator[Stack]:
    """A stack with one worker for small and one for large requests."""
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        stack = observed_stack(folder, WORKERS="2", LARGE_WORKERS="1", LARGE_IN_FLIGHT="2")
        try:
            yield stack
        finally:
            stack.control("down")


def page(stack: Stack) -> str:
    answer = requests.get(f"http://127.0.0.1:{stack.environment['METRICS_PORT']}/metrics", timeout=10)
    answer.raise_for_status()
    return answer.text


def figure(stack: Stack, sample: str) -> float:
    """A sample by its name and labels; nan where it is not there."""
    return figures(page(stack)).get(sample, float("nan"))


def metrics_pid(stack: Stack) -> int:
    pid: int = local.supervisor({"RUN_DIR": str(stack.var / "run")}, "getProcessInfo", "metrics")["pid"]
    return pid


def test_what_happened_is_counted(observed: Stack) -> None:
    peaks = 'lowtide_route_peak_bytes_bucket{{le="{}",method="GET",route="/take/{{id}}/"}}'
    # Freeing a large block raises glibc's threshold, and from then on it keeps what the second request frees.
    assert observed.get("/keep").status_code == observed.get("/take/26/").status_code == 200
    wait_until("the peak is counted", lambda: figure(observed, peaks.format(32 * MIB)) == 1)
    assert figure(observed, peaks.format(16 * MIB)) == 0
    given_back = "lowtide_given_back_bytes_total"
    wait_until("what was given back is counted", lambda: figure(observed, given_back) > 20 * MIB)
    assert figure(observed, "lowtide_give_backs_total") >= 1
    ended = 'lowtide_recycles_total{reason="died"}'
    before, respawns = figure(observed, ended), 'uwsgi_worker_respawn_count_total{worker_id="1"}'
    started = figure(observed, respawns)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(observed.get, "/die")
        wait_until("the end is counted", lambda: figure(observed, ended) == before + 1)
    assert figure(observed, respawns) == started + 1
    (worker,) = (worker for worker in observed.workers() if worker["id"] == 2)
    rss = figure(observed, 'uwsgi_worker_rss_bytes{worker_id="2"}')
    assert rss == pytest.approx(memory.rss_mb(worker["pid"]) * MIB, rel=0.1)
    assert 0 < figure(observed, 'lowtide_worker_uss_bytes{worker_id="2"}') < rss


def test_what_nginx_refuses_is_counted_by_pool(observed: Stack) -> None:
    refused = 'lowtide_refused_requests_total{{pool="{}"}}'
    before = {pool: figure(observed, refused.format(pool)) for pool in ("small", "large")}

    def send(_: int) -> int:
        # A body of unknown length counts as large.
        return requests.post(f"{observed.url}/take/60/", data=iter([b"x"]), timeout=60).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(send, range(12)))
    assert answers.count(503) > 0
    count = before["large"] + answers.count(503)
    wait_until("all are counted", lambda: figure(observed, refused.format("large")) == count)
    assert figure(observed, refused.format("small")) == before["small"]


def test_the_page_answers_and_shows_the_queue_while_the_worker_is_stuck(observed: Stack) -> None:
    (worker,) = (worker for worker in observed.workers() if worker["id"] == 1)
    os.kill(worker["pid"], signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(observed.get, "/") for _ in range(3)]
            wait_until("all three wait", lambda: figure(observed, "uwsgi_listen_queue_length") == 3)
            os.kill(worker["pid"], signal.SIGCONT)
            assert {answer.result().status_code for answer in waiting} == {200}
    finally:
        os.kill(worker["pid"], signal.SIGCONT)
    wait_until("nobody waits", lambda: figure(observed, "uwsgi_listen_queue_length") == 0)


def test_the_page_answers_while_workers_die(observed: Stack) -> None:
    took = []
    for _ in range(20):
        for worker in observed.workers():
            # It may have ended already, and pid 0 would be this process's own group.
            with suppress(ProcessLookupError):
                if worker["pid"]:
                    os.kill(worker["pid"], signal.SIGKILL)
        began = time.monotonic()
        assert "\nlowtide_up 1.0\n" in page(observed)
        took.append(time.monotonic() - began)
    # The page is due within a second; the median, because other programs of the machine delay single ones.
    assert statistics.median(took) < 1


def test_locusts_tab_reads_what_the_sampler_measures(observed: Stack) -> None:
    def agree() -> bool:
        before = sample.uwsgi(str(observed.var / "run/stats.sock"))
        read = recorder.reading(page(observed), time.time(), requests=0)
        return read.pss_mb == pytest.approx(before.pss_mb(), rel=0.05) and len(read.workers) == len(before.workers) == 2

    # Workers that another test has killed come back one after the other.
    wait_until("both read the same", agree)
    read = recorder.reading(page(observed), time.time(), requests=0)
    assert all(route["peak_p99_mb"] <= route["peak_max_mb"] * 1.04 + 0.1 for route in read.routes)


def test_prometheus_finds_nothing_to_say_against_the_page(observed: Stack) -> None:
    observed.get("/take/40/")
    checked = subprocess.run(["promtool", "check", "metrics"], input=page(observed), capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    # A pid as a label would make new time series with every replacement.
    labels = {name for row in samples(page(observed)) for name in row.labels}
    assert labels == {"worker_id", "name", "proto", "method", "route", "le", "reason", "pool"}


def test_nothing_of_it_is_published_through_nginx(observed: Stack) -> None:
    for path in ("/metrics", "/metrics/", "//metrics", "/static/../metrics", "/stats.sock"):
        assert "uwsgi_worker" not in observed.get(path).text
    rendered = "".join(file.read_text() for file in (observed.var / "run/nginx").iterdir() if file.is_file())
    assert "refused.sock" in rendered
    assert observed.environment["METRICS_PORT"] not in rendered
    assert "stats.sock" not in rendered
    # nginx's own user reaches the socket through the group, and nobody else does.
    assert (observed.var / "run/refused.sock").stat().st_mode & 0o777 == 0o660


def ask_prometheus(stack: Stack, query: str) -> list[dict[str, Any]]:
    """The result of a query, with the interval of rates that Grafana would put in."""
    url = f"http://127.0.0.1:{stack.environment['PROMETHEUS_PORT']}/api/v1/query"
    answer = requests.get(url, {"query": query.replace("$__rate_interval", "1m")}, timeout=10)
    assert answer.status_code == 200, answer.text
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def test_prometheus_answers_the_queries_of_the_dashboard_and_the_alerts(observed: Stack) -> None:
    dashboard = json.loads((CHECKOUT / "observe/grafana/dashboards/lowtide.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 15
    for query in queries:
        # In the local runtime there is no limit, unless the whole machine has one.
        if "lowtide_memory_limit_bytes" in query:
            ask_prometheus(observed, query)
        else:
            wait_until(f"there is an answer to {query}", partial(ask_prometheus, observed, query))
    (memory_bytes,) = ask_prometheus(observed, "lowtide_memory_pss_bytes")
    assert float(memory_bytes["value"][1]) == pytest.approx(figure(observed, "lowtide_memory_pss_bytes"), rel=0.5)
    rules = yaml.safe_load((CHECKOUT / "observe/alerts.yml").read_text())["groups"][0]["rules"]
    for rule in rules:
        ask_prometheus(observed, rule["expr"])
    assert ask_prometheus(observed, 'ALERTS{alertname="LowtideDown"}') == []


def test_alerts_do_what_they_say_and_each_has_a_section() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "tests/observe/alerts.yml"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rules = yaml.safe_load((CHECKOUT / "observe/alerts.yml").read_text())["groups"][0]["rules"]
    tested = (CHECKOUT / "tests/observe/alerts.yml").read_text()
    sections = re.findall(r"^### (\w+)$", (CHECKOUT / "docs/observe.md").read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules]
    for rule in rules:
        assert rule["annotations"]["runbook"] == f"docs/observe.md#{rule['alert'].lower()}"
        assert f"alertname: {rule['alert']}\n        exp_alerts" in tested


@pytest.mark.night
def test_the_page_is_cheap_with_16_workers(tmp_path: Path) -> None:
    """One scrape in 5 s takes less than 1 % of a processor, and the process less than 25 MB."""
    stack = observed_stack(str(tmp_path), WORKERS="16", LARGE_WORKERS="4")
    try:
        for number in range(100):
            stack.get(f"/item/{number}/")
        pid = metrics_pid(stack)
        page(stack)
        before, scrapes = cpu_seconds(pid), 50
        for _ in range(scrapes):
            page(stack)
        share = (cpu_seconds(pid) - before) / scrapes / 5
        pss_mb = memory.pss_mb(pid) * MIB / 1e6
        print(f"{share:.2%} of a processor, {pss_mb:.1f} MB of PSS")
        assert share < 0.01
        assert pss_mb < 25
    finally:
        stack.control("down")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
