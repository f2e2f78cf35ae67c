"""`make up OBSERVE=1` in containers, and their logs."""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests import page
from tests.container.stack import Stack
from tests.machine import free_port
from tests.stack.edge import wait_until

pytestmark = pytest.mark.container
PSS = 'lowtide_worker_pss_bytes{worker_id="1"}'


@pytest.fixture(scope="module")
def observed(stack: Stack) -> Iterator[Stack]:
    """The page and Prometheus beside the stack."""
    before = dict(stack.env)
    ports = {name: str(free_port()) for name in ("METRICS_PORT", "PROMETHEUS_PORT")}
    stack.env |= ports | {"OBSERVE": "1", "CLIENT_IN_FLIGHT": "1"}
    try:
        stack.compose("--profile", "observe", "up", "--detach", "--wait")
        yield stack
    finally:
        stack.compose("--profile", "observe", "rm", "--stop", "--force", "prometheus", "metrics", check=False)
        stack.env = before
        stack.up()


def figures(stack: Stack) -> dict[str, float]:
    return page.figures(requests.get(f"http://127.0.0.1:{stack.env['METRICS_PORT']}/metrics", timeout=10).text)


def test_the_page_knows_the_container(observed: Stack) -> None:
    wait_until("the health check has shown it the processes", lambda: PSS in figures(observed))
    seen = figures(observed)
    assert seen["lowtide_memory_limit_bytes"] == 2**30
    # Both count this container alone; the working set counts its kernel memory and files too.
    assert 40 * 2**20 < seen["lowtide_memory_pss_bytes"] < 1.5 * seen["lowtide_working_set_bytes"]
    assert seen["lowtide_oom_kills_total"] == 0
    assert seen['lowtide_worker_uss_bytes{worker_id="1"}'] > 0

    refused = 'lowtide_refused_requests_total{pool="small"}'
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: requests.get(f"{observed.url}/readyz", timeout=60).status_code, range(40)))
    assert answers.count(503) > 0
    wait_until("nginx has told", lambda: figures(observed)[refused] >= seen[refused] + answers.count(503))

    query = f"http://127.0.0.1:{observed.env['PROMETHEUS_PORT']}/api/v1/query?query=lowtide_up"
    wait_until("Prometheus has read the page", lambda: requests.get(query, timeout=10).json()["data"]["result"])


def test_the_page_outlives_the_applications_container(observed: Stack) -> None:
    # Docker does not start a container again that was killed through it, so uWSGI's master, process 1, ends it.
    started, restarts = (observed.inspect(name) for name in ("metrics", "app"))
    observed.execute("app", "bash", "-c", "kill -INT 1", check=False)
    wait_until("Docker starts it again", lambda: observed.inspect("app")["RestartCount"] > restarts["RestartCount"], 60)
    # The old processes have ended, so these are the new ones.
    wait_until("the page has its memory", lambda: PSS in figures(observed), 60)
    assert observed.inspect("metrics")["State"]["StartedAt"] == started["State"]["StartedAt"]


@pytest.mark.night
def test_the_page_follows_the_container_that_takes_over(observed: Stack) -> None:
    before = observed.inspect("metrics")["Id"]
    assert "was replaced" in observed.replace()
    assert observed.inspect("metrics")["Id"] != before
    wait_until("the page has its memory", lambda: PSS in figures(observed), 60)


def test_one_id_is_in_the_logs_of_nginx_uwsgi_and_django(observed: Stack) -> None:
    def rename(table: str, other: str) -> None:
        statement = f"ALTER TABLE {table} RENAME TO {other}"
        observed.execute("db", "bash", "-c", f'psql --username="$POSTGRES_USER" --command="{statement}" "$POSTGRES_DB"')

    # Without its table of migrations the application is not ready, and uWSGI logs an answer of 503.
    rename("django_migrations", "away")
    try:
        answer = requests.get(f"{observed.url}/readyz", timeout=60)
    finally:
        rename("away", "django_migrations")
    assert answer.status_code == 503
    request_id = answer.headers["X-Request-ID"]

    def entries() -> list[dict[str, object]]:
        lines = observed.compose("logs", "--no-log-prefix", "nginx", "app").stdout.splitlines()
        # Compose writes a sequence for terminals before some lines.
        return [json.loads(line[line.index("{") :]) for line in lines if request_id in line]

    events = {"request", "answer", "log"}
    wait_until("all three have logged it", lambda: {entry["event"] for entry in entries()} == events)
    assert {entry["request_id"] for entry in entries()} == {request_id}
    assert {entry["status"] for entry in entries() if entry["event"] != "log"} == {503}


@pytest.mark.night
def test_the_page_is_cheap_with_16_workers_and_a_container_of_its_own(observed: Stack) -> None:
    """One scrape in 5 s takes less than 1 % of a processor, and the process less than 25 MB."""
    observed.env |= {"WORKERS": "16", "LARGE_WORKERS": "4", "APP_MEMORY": "4g"}
    observed.compose("--profile", "observe", "up", "--detach", "--wait")
    for _ in range(60):
        observed.get("/readyz")
    wait_until("it shows all workers", lambda: PSS.replace("1", "16") in figures(observed), 60)

    def page_file(name: str) -> str:
        return observed.execute("metrics", "cat", f"/proc/1/{name}").stdout

    def cpu_seconds() -> float:
        fields = page_file("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def share_of_a_processor(scrapes: int = 20) -> float:
        before = cpu_seconds()
        for _ in range(scrapes):
            figures(observed)
        return (cpu_seconds() - before) / scrapes / 5

    # The least of some, because other work on the machine slows a processor down.
    share = min(share_of_a_processor() for _ in range(5))
    pss_mb = int(page_file("smaps_rollup").partition("\nPss:")[2].split()[0]) * 1024 / 1e6
    print(f"{share:.2%} of a processor, {pss_mb:.1f} MB of PSS")
    assert share < 0.01
    assert pss_mb < 25
