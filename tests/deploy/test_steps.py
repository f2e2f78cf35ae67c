"""The order of a deployment, and what ends it. Stand-ins for ECS and ECR answer as each test says."""

import re
import shlex
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from deploy.aws import __main__ as command
from deploy.aws import push, tasks
from deploy.aws.environment import Environment
from deploy.aws.stacks import Change, Failed
from tests.machine import CHECKOUT

ENVIRONMENT = Environment("test", "123456789012", "eu-central-1", "shop.example.com", "", "")
KNOWN = {
    "Cluster": "lowtide-test",
    "CapacityProvider": "lowtide-test",
    "PrivateSubnetA": "subnet-a",
    "PrivateSubnetB": "subnet-b",
    "MigrationTask": "lowtide-test-migrate:7",
    "MigrationLogs": "/lowtide/test/migrate",
    "ServiceGroup": "sg-service",
    "LoadtestTask": "lowtide-test-loadtest:1",
    "LoadtestGroup": "sg-loadtest",
    "LoadtestLogs": "/lowtide/test/loadtest",
}
ARN = "arn:aws:ecs:eu-central-1:123456789012:task/lowtide-test/"


class Ecs:
    """A stand-in for ECS, in which each task ends with `code`, or never runs."""

    def __init__(self, code: int | None = 0, addresses: bool = True) -> None:
        self.code, self.addresses = code, addresses
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []

    def describe_task_definition(self, **_: Any) -> dict[str, Any]:
        return {"taskDefinition": {"containerDefinitions": [{"name": "locust"}]}}

    def run_task(self, **words: Any) -> dict[str, Any]:
        self.started.append(words)
        return {"tasks": [{"taskArn": f"{ARN}{len(self.started)}"}]}

    def describe_tasks(self, **_: Any) -> dict[str, Any]:
        details = [{"name": "privateIPv4Address", "value": "10.20.16.9"}] if self.addresses else []
        container = {"reason": "CannotPullContainerError"} if self.code is None else {"exitCode": self.code}
        task = {"lastStatus": "STOPPED", "containers": [container], "attachments": [{"details": details}]}
        return {"tasks": [task]}

    def stop_task(self, task: str, **_: Any) -> None:
        self.stopped.append(task)


class Logs:
    def get_log_events(self, **_: Any) -> dict[str, Any]:
        return {"events": [{"message": "what it wrote"}]}


class Session:
    def __init__(self, **clients: Any) -> None:
        self.clients = {"logs": Logs()} | clients

    def client(self, name: str) -> Any:
        return self.clients[name]


class Stacks:
    """The stacks that were deployed, in order."""

    deployed: list[str]

    def __init__(self, *_: Any) -> None:
        type(self).deployed = []

    def describe(self, _: str) -> None:
        return None

    def parameters(self, _: str) -> tuple[dict[str, str], list[str]]:
        return {}, []

    def plan(self, _: str) -> list[Change]:
        return []

    def outputs(self) -> dict[str, str]:
        return KNOWN

    def deploy(self, stack: str, planned: list[Change] | None = None) -> bool:
        self.deployed.append(stack)
        return True


WORKFLOW = (CHECKOUT / ".github/workflows/deploy.yml").read_text()
# The arguments of `python -m deploy.aws` wherever a page or the CI workflow has the command.
WRITTEN = re.findall(r"python -m deploy\.aws ([^`\n)]+)", (CHECKOUT / "docs/aws.md").read_text() + WORKFLOW)


@pytest.mark.parametrize("words", WRITTEN)
def test_a_command_that_is_written_down_can_be_typed(words: str) -> None:
    command.parse(shlex.split(words))


def test_ci_goes_back_only_when_the_new_images_do_not_answer() -> None:
    job = yaml.safe_load(WORKFLOW)["jobs"]["deploy"]
    steps = [step.get("run", "") for step in job["steps"]]
    order = ("aws revision ", "aws push ", "aws deploy ", "/readyz", "aws rollback ")
    assert [word for step in steps for word in order if word in step] == list(order)
    assert job["steps"][-1]["if"] == "failure() && steps.look.outcome == 'failure'"
    assert job["needs"] == "test"


@pytest.fixture(autouse=True)
def stacks(monkeypatch: pytest.MonkeyPatch) -> type[Stacks]:
    monkeypatch.setattr(command, "Stacks", Stacks)
    monkeypatch.setattr(command, "check", lambda *_: {})
    return Stacks


def deploy(ecs: Ecs, *stacks: str) -> None:
    command.deploy(Session(ecs=ecs), ENVIRONMENT, command.parse(["deploy", "test", "--yes"]), list(stacks))


def test_migrations_run_between_their_task_and_the_service(stacks: type[Stacks]) -> None:
    ecs = Ecs()
    deploy(ecs, "migrate", "service")
    assert stacks.deployed == ["migrate", "service"]
    (task,) = ecs.started
    assert task["taskDefinition"] == KNOWN["MigrationTask"]
    assert task["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"] == ["sg-service"]


@pytest.mark.parametrize(("code", "says"), [(1, "The migrations ended with 1"), (None, "CannotPullContainerError")])
def test_the_service_stays_when_migrations_fail(code: int | None, says: str, stacks: type[Stacks]) -> None:
    with pytest.raises(Failed, match=says):
        deploy(Ecs(code), "migrate", "service")
    assert stacks.deployed == ["migrate"]


def test_the_service_alone_migrates_nothing(stacks: type[Stacks]) -> None:
    ecs = Ecs()
    deploy(ecs, "service")
    assert (stacks.deployed, ecs.started) == (["service"], [])


def loadtest(ecs: Ecs) -> None:
    words = ["loadtest", "test", "--i-own-this-host", "--workers", "3"]
    command.run_loadtest(Session(ecs=ecs), ENVIRONMENT, command.parse(words))


def test_load_comes_from_one_master_and_its_workers(capsys: pytest.CaptureFixture[str]) -> None:
    ecs = Ecs()
    loadtest(ecs)
    master, *workers = [task["overrides"]["containerOverrides"][0]["command"] for task in ecs.started]
    assert master == command.master_command("https://shop.example.com", 3)
    assert workers == [["--worker", "--master-host", "10.20.16.9"]] * 3
    assert ecs.stopped == []
    assert "what it wrote" in capsys.readouterr().out


def test_load_that_failed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failed, match="Locust ended with 1"):
        loadtest(Ecs(code=1))


def test_load_that_nobody_watches_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs()

    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loadtest(ecs)
    assert ecs.stopped == [f"{ARN}{number}" for number in (1, 2, 3, 4)]


def test_a_task_that_cannot_be_stopped_does_not_leave_the_others_running(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs()
    stop = ecs.stop_task

    def refuses(task: str, **words: Any) -> None:
        if task == f"{ARN}1":
            raise ClientError({"Error": {"Code": "Throttling", "Message": "slow down"}}, "StopTask")
        stop(task, **words)

    def interrupted(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(ecs, "stop_task", refuses)
    monkeypatch.setattr(tasks, "wait", interrupted)
    with pytest.raises(Failed, match=f"These tasks may still send load, stop them: {ARN}1 .*slow down"):
        loadtest(ecs)
    assert ecs.stopped == [f"{ARN}{number}" for number in (2, 3, 4)]


def test_a_task_that_ecs_no_longer_knows_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs()
    missing = {"tasks": [], "failures": [{"arn": f"{ARN}1", "reason": "MISSING"}]}
    monkeypatch.setattr(ecs, "describe_tasks", lambda **_: missing)
    with pytest.raises(Failed, match=f"ECS says nothing of {ARN}1: .*MISSING"):
        tasks.wait(Session(ecs=ecs), KNOWN, f"{ARN}1", 60)


def test_a_master_without_an_address_is_stopped() -> None:
    ecs = Ecs(addresses=False)
    with pytest.raises(Failed, match="has no address"):
        loadtest(ecs)
    assert ecs.stopped == [f"{ARN}1"]


class Ecr:
    """A stand-in for ECR that has every image, with these findings."""

    def __init__(self, critical: int, status: str = "COMPLETE") -> None:
        self.critical, self.status = critical, status

    def describe_images(self, **_: Any) -> dict[str, Any]:
        return {"imageDetails": [{"imageDigest": "sha256:x"}]}

    def describe_image_scan_findings(self, **_: Any) -> dict[str, Any]:
        findings = {"findingSeverityCounts": {"CRITICAL": self.critical, "HIGH": 5}}
        return {"imageScanStatus": {"status": self.status}, "imageScanFindings": findings}


def test_an_image_without_critical_findings_passes(capsys: pytest.CaptureFixture[str]) -> None:
    push.images(Session(ecr=Ecr(0)), ENVIRONMENT, "c0ffee")
    assert "lowtide-app:c0ffee was there, 0 critical findings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ecr", "says"),
    [(Ecr(2), "found 2 critical vulnerabilities"), (Ecr(0, "FAILED"), "could not scan lowtide-app:c0ffee: FAILED")],
)
def test_a_critical_finding_ends_the_push(ecr: Ecr, says: str) -> None:
    with pytest.raises(Failed, match=says):
        push.images(Session(ecr=ecr), ENVIRONMENT, "c0ffee")
