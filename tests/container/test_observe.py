"""`make up OBSERVE=1` in containers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests import page
from tests.container.stack import Stack
from tests.machine import free_port
from tests.stack.edge import wait_until

pytestmark = pytest.mark.container


@pytest.fixture
def observed(healthy: Stack) -> Iterator[Stack]:
    ports = {name: str(free_port()) for name in ("METRICS_PORT", "PROMETHEUS_PORT")}
    healthy.env |= ports | {"OBSERVE": "1", "CLIENT_IN_FLIGHT": "1"}
    healthy.compose("--profile", "observe", "up", "--detach", "--wait")
    yield healthy
    healthy.compose("--profile", "observe", "rm", "--stop", "--force", "prometheus", "metrics")


def figures(stack: Stack) -> dict[str, float]:
    try:
        text = requests.get(f"http://127.0.0.1:{stack.env['METRICS_PORT']}/metrics", timeout=10).text
    except requests.ConnectionError:
        return {}
    return page.figures(text)


def test_the_page_knows_the_container(observed: Stack) -> None:
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
