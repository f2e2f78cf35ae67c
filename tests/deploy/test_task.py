"""The two containers of the ECS task definition, started by the local engine exactly as the definition says."""

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from deploy.aws import cfn
from lowtide import application
from tests import described
from tests.described import PAGE
from tests.machine import CHECKOUT, free_port

pytestmark = pytest.mark.container

DOMAIN = "shop.example.com"
# What a browser's request looks like behind CloudFront and the load balancer.
BEHIND = {"Host": DOMAIN, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
# The password of the owner of the tables, and that of the application's role. What is neither is a secret by its name.
PASSWORDS = {"${DatabaseSecret}:password::": "p@ss:w/rd?#'[]", "${RuntimeDatabaseSecret}:password::": "0ther?p@ss"}
SECRETS = described.VARIABLES | {"SECRET_KEY": "x" * 64}


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=280)
    assert not check or done.returncode == 0, f"docker {' '.join(words)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def logs(container: str) -> str:
    """Both streams, in order."""
    done = subprocess.run(["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def value(given: Any, values: dict[str, str]) -> str:
    """A value of a template with its references resolved."""
    if isinstance(given, dict):
        (kind, what), *_ = given.items()
        if kind == "Ref":
            return values[what]
        assert kind == "Fn::Sub"
        for name, path in values.items():
            what = what.replace(f"${{{name}}}", path)
        assert "${" not in what, what
        return str(what)
    return str(given)


def run_options(container: dict[str, Any], values: dict[str, str]) -> list[str]:
    """The options of `docker run` for a container definition. A key for which there is no option fails the test."""
    rest = dict(container)
    for ignored in ("Name", "Image", "Essential", "LogConfiguration", "PortMappings", "DependsOn", "Command"):
        rest.pop(ignored, None)
    linux = dict(rest.pop("LinuxParameters"))
    memory = value(rest.pop("Memory"), values)
    assert linux.pop("MaxSwap") == 0
    assert linux.pop("Capabilities") == {"Drop": ["ALL"]}
    words = [
        *("--memory", f"{memory}m", "--memory-swap", f"{memory}m"),
        *("--memory-reservation", f"{value(rest.pop('MemoryReservation'), values)}m"),
        *("--cpu-shares", str(rest.pop("Cpu")), "--user", rest.pop("User"), "--cap-drop", "ALL"),
    ]
    if health := rest.pop("HealthCheck", None):
        assert health["Command"][0] == "CMD"
        words += ["--health-interval", f"{health['Interval']}s", "--health-timeout", f"{health['Timeout']}s"]
        words += ["--health-start-period", f"{health['StartPeriod']}s", "--health-retries", str(health["Retries"])]
        # `docker run` gives a health check to a shell; ECS starts the words as they are.
        words += ["--health-cmd", shlex.join(health["Command"][1:])]
    if seconds := rest.pop("StopTimeout", None):
        words += ["--stop-timeout", str(seconds)]
    words += ["--init"] if linux.pop("InitProcessEnabled", False) else []
    words += ["--read-only"] if rest.pop("ReadonlyRootFilesystem") else []
    for option in rest.pop("DockerSecurityOptions"):
        words += ["--security-opt", option]
    for mount in linux.pop("Tmpfs", []):
        words += ["--tmpfs", f"{mount['ContainerPath']}:{','.join(mount['MountOptions'])},size={mount['Size']}m"]
    for control in rest.pop("SystemControls", []):
        words += ["--sysctl", f"{control['Namespace']}={control['Value']}"]
    for mount in rest.pop("MountPoints", []):
        words += ["--volume", f"{values[mount['SourceVolume']]}:{mount['ContainerPath']}"]
    for variable in rest.pop("Environment"):
        words += ["--env", f"{variable['Name']}={value(variable['Value'], values)}"]
    for secret in rest.pop("Secrets", []):
        source = secret["ValueFrom"].get("Fn::Sub", "")
        words += ["--env", f"{secret['Name']}={PASSWORDS.get(source) or SECRETS[secret['Name']]}"]
    assert not rest, f"not translated: {rest}"
    assert not linux, f"not translated: {linux}"
    return words


def without_tls(options: list[str]) -> list[str]:
    """The database of the test has no TLS, which RDS requires."""
    return [word.replace("sslmode=require", "sslmode=prefer") for word in options]


@dataclass(frozen=True)
class Task:
    name: str
    url: str
    definition: dict[str, dict[str, Any]]

    def inspect(self, container: str) -> dict[str, Any]:
        details: dict[str, Any] = json.loads(docker("inspect", f"{self.name}-{container}"))[0]
        return details

    def get(self, path: str, **words: Any) -> requests.Response:
        headers = BEHIND | words.pop("headers", {})
        return requests.request(
            words.pop("method", "GET"), self.url + path, headers=headers, timeout=20, allow_redirects=False, **words
        )


@pytest.fixture(scope="session")
def engine() -> None:
    """Without an engine skip the container tests and say why; in CI fail instead."""
    try:
        problem = subprocess.run(["docker", "info"], capture_output=True).returncode
    except FileNotFoundError:
        problem = 1
    if problem:
        message = "needs a Docker engine, and none answers. On Debian .ci/engine starts one."
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


def healthy(container: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while (status := docker("inspect", "--format", "{{.State.Health.Status}}", container)) != "healthy":
        assert status == "starting", f"{container} is {status}: {logs(container)}"
        assert time.monotonic() < end, f"{container} is {status}: {logs(container)}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def task(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """The task: containers in one network namespace, as with awsvpc, beside a database with the owner's password."""
    port = free_port()
    name = f"lowtide-task-{port}"
    template = cfn.load("service")
    definition = template["Resources"]["Task"]["Properties"]
    containers = {container["Name"]: container for container in definition["ContainerDefinitions"]}
    values = {key: str(rule["Default"]) for key, rule in template["Parameters"].items() if "Default" in rule}
    values |= {"Domain": DOMAIN, "DatabaseHost": "db", "run": name, "VpcCidr": "0.0.0.0/0"}
    # Secrets are passed in a file, because a password with quotes would not survive the command line.
    secret: Path = tmp_path_factory.mktemp("task") / "db.env"
    secret.write_text(
        f"POSTGRES_USER=lowtide\nPOSTGRES_DB=lowtide\nPOSTGRES_PASSWORD={PASSWORDS['${DatabaseSecret}:password::']}\n"
    )
    for target in ("app", "nginx", "locust"):
        docker("build", "--quiet", "--target", target, "--tag", f"{name}:{target}", ".")
    try:
        docker("network", "create", name)
        docker("volume", "create", name)
        docker("run", "--detach", "--name", f"{name}-db", "--network", name, "--network-alias", "db", "--env-file",
               str(secret), "postgres:17")  # fmt: skip
        # The interface that awsvpc gives to a task, which its containers share.
        docker("run", "--detach", "--name", f"{name}-net", "--network", name, "--publish", f"127.0.0.1:{port}:8080",
               "--sysctl", "net.core.somaxconn=1024", "--entrypoint", "sleep", "--user", "65534",
               f"{name}:app", "600")  # fmt: skip
        migrate = cfn.load("migrate")["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
        end = time.monotonic() + 60
        while "accepting" not in docker("exec", f"{name}-db", "pg_isready", "--host=127.0.0.1", check=False):
            assert time.monotonic() < end, logs(f"{name}-db")
            time.sleep(0.5)
        docker("run", "--rm", "--network", name, *without_tls(run_options(migrate, values)), f"{name}:app",
               *migrate["Command"])  # fmt: skip
        for target in ("app", "nginx"):
            options = without_tls(run_options(containers[target], values))
            sysctls = [at for at, word in enumerate(options) if word == "--sysctl"]
            for at in reversed(sysctls):
                # The network namespace is that of another container, so options about it belong there.
                assert options[at + 1] == "net.core.somaxconn=1024"
                del options[at : at + 2]
            docker("run", "--detach", "--name", f"{name}-{target}", "--network", f"container:{name}-net", *options,
                   f"{name}:{target}")  # fmt: skip
            # nginx waits for the application, as DependsOn says.
            healthy(f"{name}-{target}", 60)
        yield Task(name, f"http://127.0.0.1:{port}", containers)
    finally:
        for container in ("nginx", "app", "net", "db"):
            docker("rm", "--force", "--volumes", f"{name}-{container}", check=False)
        docker("volume", "rm", "--force", name, check=False)
        docker("network", "rm", name, check=False)
        docker("rmi", f"{name}:app", f"{name}:nginx", f"{name}:locust", check=False)


def test_the_site_answers_with_its_database(task: Task) -> None:
    assert task.get("/readyz").json() == {"status": "ready", "missing": {}}
    page = task.get(PAGE)
    assert page.status_code == 200
    assert "Strict-Transport-Security" in page.headers


def test_static_files_are_kept_where_their_names_allow_it(task: Task) -> None:
    answer = task.get(described.stylesheet(task.get(PAGE).text))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == described.STATIC_CACHE


def test_health_needs_no_host_and_no_https(task: Task) -> None:
    """The load balancer asks by IP address and over HTTP, not by the host name."""
    answer = requests.get(f"{task.url}/healthz", timeout=10)
    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_other_names_are_refused(task: Task) -> None:
    assert task.get(PAGE, headers={"Host": "other.example.org"}).status_code == 400


def test_what_needs_a_secret_has_it(task: Task) -> None:
    call = described.guarded()
    asked = {"method": call.method, "data": call.body.encode()}
    without = application.headers(call, {})
    assert task.get(call.path, headers=without, **asked).status_code in (401, 403)
    assert task.get(call.path, headers=described.headers(call), **asked).status_code == call.status


def test_a_large_request_stays_below_the_limit(task: Task) -> None:
    """Nothing is killed when bodies of the largest allowed size come, twice as many as the large pool takes."""
    for _ in range(4):
        answer = task.get(
            described.large().path,
            method=described.large().method,
            data=b"[" + b'{"x": "%s"},' % (b"y" * 1000) * 20_000 + b"{}]",
            headers=described.headers(described.large()),
        )
        assert answer.status_code < 500
    state = task.inspect("app")["State"]
    assert (state["Running"], state["OOMKilled"]) == (True, False)
    written = logs(f"{task.name}-app")
    assert "uWSGI" in written
    assert '"reason": "oom"' not in written
    assert "DAMN" not in written


@pytest.mark.parametrize("container", ["app", "nginx"])
def test_it_runs_as_defined(task: Task, container: str) -> None:
    actual, wanted = task.inspect(container), task.definition[container]
    host = actual["HostConfig"]
    assert actual["Config"]["User"] == wanted["User"] != "0"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["Memory"] == host["MemorySwap"] > host["MemoryReservation"] > 0
    assert actual["Config"]["StopTimeout"] == wanted["StopTimeout"]
    written = subprocess.run(
        ["docker", "exec", f"{task.name}-{container}", "touch", "/srv/x"], capture_output=True, text=True
    )
    assert "Read-only file system" in written.stderr


def test_locust_makes_its_bodies_where_it_may_write(task: Task) -> None:
    """The task of the load test, up to the point where it would send something."""
    template = cfn.load("loadtest")
    (container,) = template["Resources"]["Task"]["Properties"]["ContainerDefinitions"]
    defaults = {name: rule["Default"] for name, rule in template["Parameters"].items() if "Default" in rule}
    options = run_options(container, defaults)
    listed = docker("run", "--rm", "--network", "none", *options, f"{task.name}:locust", "--list")
    assert sorted(listed.split()[-2:]) == ["LargeUser", "SmallUser"]


def test_it_stops_in_order_and_in_time(task: Task) -> None:
    """nginx ends first and then the application, both without being killed."""
    for container in ("nginx", "app"):
        docker("stop", "--time", str(task.definition[container]["StopTimeout"]), f"{task.name}-{container}")
        assert task.inspect(container)["State"]["ExitCode"] == 0
