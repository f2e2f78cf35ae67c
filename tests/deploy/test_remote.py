"""Permission to send load, and memory read from real servers: moto's CloudWatch, kubectl's API, a page over HTTP."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loadtest.measure import remote
from lowtide.tools import permission
from tests.deploy.conftest import TOOLS, tool

MINE = ["http://127.0.0.1:8080", "http://localhost", "https://[::1]:8443", "http://127.9.9.9/"]
OTHERS = [
    "https://shop.example.com",
    "http://10.0.0.5:8080",
    "http://169.254.169.254",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
]


@pytest.mark.parametrize("host", MINE)
def test_this_machine_needs_no_permission(host: str) -> None:
    permission.permit(host, owned=False)


@pytest.mark.parametrize("host", OTHERS)
def test_other_machines_do(host: str) -> None:
    with pytest.raises(permission.Forbidden, match="--i-own-this-host"):
        permission.permit(host, owned=False)
    permission.permit(host, owned=True)


@pytest.mark.parametrize("host", ["", "shop.example.com", "ftp://127.0.0.1", "http://"])
def test_no_address_is_no_host_even_with_permission(host: str) -> None:
    with pytest.raises(permission.Forbidden, match="is no address of a site"):
        permission.permit(host, owned=True)


@pytest.mark.parametrize("host", ["http://127.0.0.1@example.com/", "https://me:hidden@127.0.0.1:8080"])
def test_an_address_with_a_password_is_refused_and_not_repeated(host: str) -> None:
    with pytest.raises(permission.Forbidden, match="HOST has a user or a password") as problem:
        permission.permit(host, owned=True)
    assert "hidden" not in str(problem.value)
    with pytest.raises(remote.Unreadable, match="MEMORY_FROM has a user or a password") as unreadable:
        remote.for_source(f"{host}#figure")
    assert "hidden" not in str(unreadable.value)


class Answers(BaseHTTPRequestHandler):
    """A server with a prepared answer for each path; it ignores the query."""

    pages: ClassVar[dict[str, tuple[int, str]]] = {}
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).seen.append(self.path)
        status, text = self.pages.get(self.path.split("?")[0], (404, "{}"))
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if text[:1] == "{" else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Answers.pages, Answers.seen = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


PAGE = """# HELP lowtide_memory_pss_bytes Sum of PSS.
# TYPE lowtide_memory_pss_bytes gauge
lowtide_memory_pss_bytes{pod="a"} 104857600
lowtide_memory_pss_bytes{pod="b"} 52428800 1700000000
lowtide_memory_pss_bytes_total 7
"""


def test_a_page_is_summed_over_its_samples(server: str) -> None:
    Answers.pages["/metrics"] = (200, PAGE)
    moment, memory_mb = remote.for_source(f"{server}/metrics#lowtide_memory_pss_bytes").read()
    assert memory_mb == 150
    assert abs(moment - time.time()) < 60


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [(503, PAGE, "503"), (200, "other 1\n", "has no sample called"), (200, "lowtide_memory_pss_bytes NaN\n", "is nan")],
)
def test_a_page_without_the_figure_is_an_error(server: str, status: int, text: str, reason: str) -> None:
    Answers.pages["/metrics"] = (status, text)
    with pytest.raises(remote.Unreadable, match=reason):
        remote.for_source(f"{server}/metrics#lowtide_memory_pss_bytes").read()


METRICS = "/apis/metrics.k8s.io/v1beta1/namespaces/lowtide/pods"


def pod(**containers: str) -> dict[str, Any]:
    return {
        "containers": [{"name": name, "usage": {"cpu": "1m", "memory": memory}} for name, memory in containers.items()]
    }


@pytest.fixture
def kubernetes(server: str, tmp_path: Path) -> remote.Kubernetes:
    """A real kubectl that talks to the server of this test."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
        "current-context": "test",
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    return remote.Kubernetes("lowtide", "lowtide", (str(TOOLS / "kubectl"), f"--kubeconfig={path}"))


def test_kubernetes_counts_the_application_of_every_pod(kubernetes: remote.Kubernetes) -> None:
    items = [pod(app="102400Ki", nginx="9Mi"), pod(nginx="9Mi", app="50Mi")]
    Answers.pages[METRICS] = (200, json.dumps({"kind": "PodMetricsList", "items": items}))
    assert kubernetes.read()[1] == 150
    assert any("labelSelector=app.kubernetes.io%2Fname%3Dlowtide" in path for path in Answers.seen)


def test_kubernetes_without_metrics_is_an_error(kubernetes: remote.Kubernetes) -> None:
    Answers.pages[METRICS] = (200, json.dumps({"kind": "PodMetricsList", "items": []}))
    with pytest.raises(remote.Unreadable, match="metrics-server"):
        kubernetes.read()
    Answers.pages[METRICS] = (403, "{}")
    with pytest.raises(remote.Unreadable, match="kubectl:"):
        kubernetes.read()


# moto speaks the CloudWatch protocol of its own boto3, which is older than that of the tests.
READ = """
import sys
from loadtest.measure import remote
try:
    print(*remote.for_source(sys.argv[1]).read())
except remote.Unreadable as problem:
    sys.exit(str(problem))
"""
PUT = """
import boto3
from datetime import UTC, datetime, timedelta
names = [{"Name": "ClusterName", "Value": "c"}, {"Name": "ServiceName", "Value": "s"}]
for minutes, mib in ((5, 700.0), (2, 300.0)):
    data = {"MetricName": "MemoryUtilized", "Dimensions": names, "Value": mib,
            "Timestamp": datetime.now(UTC) - timedelta(minutes=minutes)}
    boto3.client("cloudwatch").put_metric_data(Namespace="ECS/ContainerInsights", MetricData=[data])
"""


def test_cloudwatch_gives_the_newest_minute(aws: dict[str, str]) -> None:
    tool("python", "-c", PUT, env=aws, check=True)
    moment, memory_mb = tool("python", "-c", READ, "cloudwatch:c/s@eu-central-1", env=aws, check=True).stdout.split()
    assert float(memory_mb) == 300
    # The figure was stored two minutes ago, and is about the whole minute in which that was.
    assert 60 <= time.time() - float(moment) < 125


def test_cloudwatch_without_figures_is_an_error(aws: dict[str, str]) -> None:
    done = tool("python", "-c", READ, "cloudwatch:no/such@eu-central-1", env=aws)
    assert done.returncode == 1
    assert "are Container Insights on?" in done.stderr


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("cloudwatch:c/s", "working set"),
        ("kubernetes:lowtide/lowtide", "working set"),
        ("http://127.0.0.1/metrics#lowtide_memory_pss_bytes", "PSS"),
        ("http://127.0.0.1/metrics#container_memory_working_set_bytes", "working set"),
    ],
)
def test_a_source_says_what_its_figures_are(text: str, kind: str) -> None:
    assert remote.for_source(text).kind == kind


@pytest.mark.parametrize(
    "text", ["", "cloudwatch:", "kubernetes:one", "https://example.com/metrics", "file:///etc/passwd#x"]
)
def test_unknown_sources_are_refused(text: str) -> None:
    with pytest.raises(remote.Unreadable, match="is no source of memory"):
        remote.for_source(text)
