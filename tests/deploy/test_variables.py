"""The application's own variables reach ECS and Compose without a file that lists them a second time by hand."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.aws import __main__ as command
from deploy.aws import cfn, environment, variables
from lowtide.application import Variable
from tests.described import APPLICATION
from tests.machine import CHECKOUT

CERTIFICATE = "arn:aws:acm:{}:123456789012:certificate/00000000-0000-0000-0000-000000000000"
EXAMPLE = f"""
account = "123456789012"
region = "eu-central-1"
domain = "shop.example.com"
certificate = "{CERTIFICATE.format("eu-central-1")}"
cloudfront_certificate = "{CERTIFICATE.format("us-east-1")}"
"""
VARIABLES = {
    "UPLOAD_KEY": Variable(about="Opens uploads.", secret=True, generate=True),
    "STRIPE_KEY": Variable(about="Pays.", secret=True),
    "STRIPE_URL": Variable(about="Where."),
}


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "of_the_application", lambda: VARIABLES)


def container(stack: str) -> dict[str, Any]:
    definition: dict[str, Any] = cfn.load(stack)["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
    return definition


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize("stack", ["service", "processes", "migrate", "loadtest"])
def test_every_task_that_reads_them_has_them(stack: str) -> None:
    secrets = {secret["Name"]: secret["ValueFrom"] for secret in container(stack)["Secrets"]}
    assert (
        secrets.items() >= {"UPLOAD_KEY": {"Ref": "UploadKeySecret"}, "STRIPE_KEY": {"Ref": "StripeKeySecret"}}.items()
    )
    assert {"Name": "STRIPE_URL", "Value": {"Ref": "StripeUrl"}} in container(stack)["Environment"]
    assert cfn.load(stack)["Parameters"].keys() >= {"UploadKeySecret", "StripeKeySecret", "StripeUrl"}


@pytest.mark.usefixtures("declared")
def test_a_secret_is_generated_where_any_will_do() -> None:
    database = cfn.load("database")
    assert database["Resources"]["UploadKeySecret"]["Properties"]["GenerateSecretString"]["PasswordLength"] == 48
    assert database["Outputs"]["UploadKeySecret"] == {"Value": {"Ref": "UploadKeySecret"}}
    assert "StripeKeySecret" not in database["Resources"]
    for role in ("ExecutionRole", "MigrationRole", "LoadtestRole"):
        assert '"Ref": "StripeKeySecret"' in json.dumps(cfn.load("roles")["Resources"][role])


@pytest.mark.usefixtures("declared")
def test_another_secret_has_to_be_said(tmp_path: Path) -> None:
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:stripe-x"
    (tmp_path / "test.toml").write_text(EXAMPLE)
    with pytest.raises(environment.Refused, match="does not say where the secret STRIPE_KEY is: keep it in Secrets"):
        environment.read("test", tmp_path)
    (tmp_path / "test.toml").write_text(f'{EXAMPLE}\n[parameters]\nStripeKeySecret = "{arn}"\nStripeUrl = "x"\n')
    inputs = environment.read("test", tmp_path).inputs()
    assert (inputs["StripeKeySecret"], inputs["StripeUrl"]) == (arn, "x")


def test_further_processes_come_after_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment_file = tmp_path / "test.toml"
    environment_file.write_text(f"{EXAMPLE}[sizing]\nworkers = 2\nlarge_workers = 0\n")
    described = (CHECKOUT / "app/lowtide.toml").read_text()
    monkeypatch.setattr(environment, "APP", tmp_path)
    (tmp_path / "lowtide.toml").write_text(described)
    assert "processes" not in environment.read("test", tmp_path).stacks
    (tmp_path / "lowtide.toml").write_text(f"{described}\n[processes]\nworker = 'manage.py work'\n")
    stacks = environment.read("test", tmp_path).stacks
    assert stacks[stacks.index("service") + 1] == "processes"


@pytest.mark.parametrize("words", ["plan test", "loadtest test", "revision test --revision c0ffee"])
def test_a_mistake_in_the_description_is_one_line(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lowtide.toml").write_text('name = "ab"\nwsgi = 1\n')
    (tmp_path / "test.toml").write_text(EXAMPLE)
    for module in (variables, environment):
        monkeypatch.setattr(module, "APP", tmp_path)
    monkeypatch.setattr(command, "read", functools.partial(environment.read, folder=tmp_path))
    assert command.main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Refused: {tmp_path}/lowtide.toml: wsgi = 1 cannot be used: write ")
    assert said.count("\n") == 1


def test_the_names_for_compose_are_those_of_the_description() -> None:
    assert (CHECKOUT / "app/variables.env").read_text() == APPLICATION.names, "`make up` writes app/variables.env"


def test_a_new_settings_file_has_them_with_fresh_secrets() -> None:
    written = APPLICATION.env
    for name, variable in APPLICATION.variables.items():
        assert f"# {variable.about}\n" in written
        line = next(line for line in written.splitlines() if name in line.split("=")[0])
        assert len(line) > 50 if variable.generate else line == f"# {name}="
    assert written != APPLICATION.env or not any(variable.generate for variable in APPLICATION.variables.values())


def test_no_file_of_the_deployments_names_them() -> None:
    pattern = "|".join(APPLICATION.variables) or "$^"
    command = ["git", "grep", "-lE", pattern, "--", "deploy", "docker-compose.yml", ".env.example"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert done.stdout == ""
