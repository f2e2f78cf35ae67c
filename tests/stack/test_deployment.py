"""`make loadtest HOST=...` against a stack that runs already, its memory read from lowtide.metrics."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import yaml

from deploy.aws import __main__ as aws
from loadtest.load import scenarios
from lowtide import application
from tests import described
from tests.machine import CHECKOUT, free_port
from tests.stack.conftest import Stack, Start

pytestmark = pytest.mark.stack

FIGURE = "lowtide_memory_pss_bytes"
SMOKE = scenarios.SCENARIOS["smoke"]


def loadtest(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `make loadtest` with these words on its command line, and results and state below `folder`."""
    dropped = {"QUICK", "VARIANTS", "SCENARIO", "HOST", "MEMORY_FROM"}
    # Variables that come from the make that runs the tests.
    dropped |= {"ARGS", "MAKEFLAGS", "MAKEOVERRIDES"}
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"RUNTIME": "local", "SCENARIO": "smoke", "RESULTS_DIR": str(folder / "results")}
    environment |= {"VAR_DIR": str(folder / "var")} | described.VARIABLES | settings
    return subprocess.run(
        ["make", "--no-print-directory", "loadtest", *words],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
    )


def serve_metrics(stack: Stack) -> tuple[subprocess.Popen[bytes], str]:
    """Run lowtide.metrics beside a stack; the address of its page."""
    port = free_port()
    environment = stack.environment | {"RUN_DIR": str(stack.var / "run"), "METRICS_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "lowtide.metrics"], cwd=CHECKOUT, env=environment)
    url = f"http://127.0.0.1:{port}/metrics"
    for _ in range(100):
        try:
            requests.get(url, timeout=5).raise_for_status()
            break
        except requests.RequestException:
            time.sleep(0.1)
    return process, url


@pytest.fixture
def page(stack: Stack) -> Iterator[str]:
    """The address of the metrics of the shared stack."""
    process, url = serve_metrics(stack)
    yield url
    process.terminate()
    process.wait(10)


def test_a_deployment_leaves_every_file_and_says_what_happened(stack: Stack, page: str, tmp_path: Path) -> None:
    before = sum(stack.served())
    done = loadtest(tmp_path, f"HOST={stack.url}/", f"MEMORY_FROM={page}#{FIGURE}")
    (directory,) = (tmp_path / "results").iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert done.returncode == (0 if summary["verdict"]["holds"] else 1), done.stderr
    assert (summary["runtime"], summary["memory"], summary["load"]["requests"]) == ("deployment", "PSS", SMOKE.requests)
    (row,) = summary["variants"]
    assert (row["name"], row["requests"], row["failures"]) == ("deployment", SMOKE.requests, 0)
    assert sum(stack.served()) - before >= SMOKE.requests
    # Before the first request it says what the list can write.
    writes = any(row.method not in ("GET", "HEAD", "OPTIONS") for row in described.REQUESTS)
    said = "".join(done.stdout.splitlines()[:2])
    assert f"can write to {stack.url}: " in said if writes else f"The list only reads from {stack.url}: " in said
    assert 20 < row["idle_mb"] <= row["peak_mb"] * 1.05
    checks = {check["name"]: check for check in summary["verdict"]["checks"]}
    assert checks["failed requests"]["holds"]
    assert checks["end over idle"]["value"] == round(row["end_mb"] / row["idle_mb"], 3)
    # What cannot be seen from outside is left out, and not made up.
    assert row["oom_kills"] is None
    assert set(row["recycles"].values()) | set(summary["environment"].values()) == {None}
    with (directory / "samples.csv").open(newline="") as file:
        samples = list(csv.DictReader(file))
    assert len(samples) > 10
    assert {sample["working_set_mb"] + sample["workers"] for sample in samples} == {""}
    assert (int(samples[0]["requests"]), int(samples[-1]["requests"])) == (0, SMOKE.requests)
    for name in ("report.html", "memory.png", "memory.svg", "events.csv", "locust-deployment.html"):
        assert (directory / name).stat().st_size > 0, name
    report = (directory / "report.html").read_text()
    assert stack.url in report
    assert "Whether workers were replaced was not measured." in report
    assert "Whether workers were replaced was not measured." in " ".join(done.stdout.split())
    assert "OOM kills were not measured" in " ".join(done.stdout.split())


def test_requests_carry_the_secret_and_nobody_shows_it(start: Start, tmp_path: Path) -> None:
    (name,) = application.variables(described.guarded())
    token = "token-that-is-never-shown"
    stack = start(**{name: token})
    stack.fill(items=500)
    process, page = serve_metrics(stack)
    words = (f"HOST={stack.url}", f"MEMORY_FROM={page}#{FIGURE}")
    try:
        without = loadtest(tmp_path, *words, **{name: ""})
        given = loadtest(tmp_path, *words, **{name: token})
    finally:
        process.terminate()
        process.wait(10)
    assert without.returncode == 2
    assert f"it needs {name}=... in the environment of make." in without.stderr
    (directory,) = (tmp_path / "results").iterdir()
    assert json.loads((directory / "summary.json").read_text())["variants"][0]["failures"] == 0
    shown = [given.stdout, given.stderr, *(path.read_text(errors="replace") for path in directory.iterdir())]
    assert not any(token in text for text in shown)


@pytest.mark.parametrize(
    ("words", "settings", "says"),
    [
        (["HOST=https://shop.example.com", "MEMORY_FROM={page}#" + FIGURE], {}, "add --i-own-this-host."),
        (["HOST=127.0.0.1:8080", "MEMORY_FROM={page}#" + FIGURE], {}, "is no address of a site"),
        (["HOST=", "MEMORY_FROM={page}#" + FIGURE], {}, "is no address of a site"),
        (["HOST=http://me:hidden@127.0.0.1"], {}, "HOST has a user or a password in it"),
        (["HOST={url}"], {}, "MEMORY_FROM is not set"),
        (["HOST={url}", "MEMORY_FROM=prometheus"], {}, "is no source of memory"),
        (["HOST={url}", "MEMORY_FROM=https://me:hidden@127.0.0.1/m#x"], {}, "MEMORY_FROM has a user or a password"),
        (["HOST={url}", "MEMORY_FROM={page}#lowtide_memory"], {}, "has no sample called lowtide_memory"),
        (["HOST={url}/nowhere", "MEMORY_FROM={page}#" + FIGURE], {}, "answered 404"),
        *(
            (["HOST={url}", "MEMORY_FROM={page}#" + FIGURE], {"SCENARIO": "default"}, command)
            for command in described.seed_commands(10_000)[:1]
        ),
        (["HOST={url}", "MEMORY_FROM={page}#" + FIGURE], {"SCENARIO": "huge"}, "there is no such scenario"),
        (["HOST={url}", "MEMORY_FROM={page}#" + FIGURE], {"VARIANTS": "lowtide"}, "VARIANTS does not go with HOST"),
    ],
)
def test_refused_before_anything_is_sent(
    words: list[str], settings: dict[str, str], says: str, stack: Stack, page: str, tmp_path: Path
) -> None:
    words = [word.format(url=stack.url, page=page) for word in words]
    done = loadtest(tmp_path, *words, **settings)
    # make itself exits with 2 when a recipe fails. Its message has the exit code of the recipe.
    assert done.returncode == 2
    said, of_make = done.stderr.strip().splitlines()
    assert says in said
    assert of_make.endswith("Error 2")
    assert "hidden" not in said
    assert not (tmp_path / "results").exists()


def test_a_site_that_leads_elsewhere_is_not_followed(start: Start, tmp_path: Path) -> None:
    stack = start(HTTPS="on", HSTS_SECONDS="0")
    process, page = serve_metrics(stack)
    try:
        done = loadtest(tmp_path, f"HOST={stack.url}", f"MEMORY_FROM={page}#{FIGURE}")
    finally:
        process.terminate()
        process.wait(10)
    assert "only leads to https://127.0.0.1" in done.stderr


def test_a_host_of_the_shell_is_not_a_deployment(tmp_path: Path) -> None:
    """tcsh and conda export HOST. That must not turn a bare `make loadtest` into the measurement of a deployment."""
    done = loadtest(tmp_path, HOST="x86_64-conda-linux-gnu", VARIANTS="none-such")
    assert "there is no variant none-such" in done.stderr


def of_kubernetes(host: str) -> tuple[list[str], list[str], int]:
    """The arguments of master and workers in the manifests of Kubernetes, and the number of workers."""
    manifests = yaml.safe_load_all((CHECKOUT / "deploy/kubernetes/loadtest/locust.yml").read_text())
    jobs = {manifest["metadata"]["name"]: manifest["spec"] for manifest in manifests if manifest["kind"] == "Job"}
    kustomization = yaml.safe_load((CHECKOUT / "deploy/kubernetes/loadtest/kustomization.yml").read_text())
    settings = dict(line.split("=", 1) for line in kustomization["configMapGenerator"][0]["literals"])
    assert jobs["locust-worker"]["parallelism"] == int(settings["WORKERS"])

    def arguments(job: str) -> list[str]:
        words: list[str] = jobs[job]["template"]["spec"]["containers"][0]["args"]
        return [word.replace("$(HOST)", host).replace("$(WORKERS)", settings["WORKERS"]) for word in words]

    worker = [word.replace("locust-master", "127.0.0.1") for word in arguments("locust-worker")]
    return arguments("locust-master"), worker, int(settings["WORKERS"])


def of_ecs(host: str) -> tuple[list[str], list[str], int]:
    """The arguments with which `python -m deploy.aws loadtest` starts its tasks, and the number of workers."""
    return aws.master_command(host, 3), aws.worker_command("127.0.0.1"), 3


@pytest.mark.parametrize("arguments", [of_kubernetes, of_ecs], ids=["kubernetes", "ecs"])
def test_locust_on_several_machines_serves_the_list_once(
    arguments: Callable[[str], tuple[list[str], list[str], int]], stack: Stack, tmp_path: Path
) -> None:
    """Master and workers as processes of their own, with every user that the scenario has."""
    master_words, worker_words, count = arguments(stack.url)
    port = str(free_port())

    def locust(words: list[str], *more: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "locust", "--locustfile", "loadtest/load/locustfile.py", *words, *more]
        # Each process makes the bodies in a folder of its own, as each container does.
        environment = os.environ | {"LOWTIDE_SCENARIO": "smoke", "LOWTIDE_FEEDS": tempfile.mkdtemp(dir=tmp_path)}
        environment |= described.VARIABLES
        return subprocess.Popen(command, cwd=CHECKOUT, env=environment)

    before = sum(stack.served())
    report = str(tmp_path / "run")
    master = locust(master_words, "--master-bind-port", port, "--csv", report)
    workers = [locust(worker_words, "--master-port", port) for _ in range(count)]
    try:
        # The processes end by themselves, the master first.
        ended = [process.wait(150) for process in (master, *workers)]
    finally:
        for process in (master, *workers):
            process.kill()
            process.wait()
    assert ended == [0] * (1 + count)
    assert sum(stack.served(before + SMOKE.requests)) - before == SMOKE.requests
    with Path(f"{report}_stats_history.csv").open(newline="") as file:
        users = max(int(row["User Count"]) for row in csv.DictReader(file))
    # Each process has at least one user for small requests, and one for large requests.
    assert users == max(SMOKE.small_users, count) + count
