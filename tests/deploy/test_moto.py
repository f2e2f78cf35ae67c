"""The stacks in moto, which imitates AWS: what is there afterwards, and what is refused before anything is changed.

moto's CloudFormation reports CREATE_COMPLETE for things that it never made, so no test looks at a status. It lacks:
CloudFront, capacity providers, alarms' expressions, the circuit breaker, a service's load balancer, attributes of
load balancers, associations of route tables, secrets and their rotation, a task's execution role, and the outputs of a
stack that a change set has made (so the stacks are made with create_stack). test_templates.py holds those to their
properties.
"""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from deploy.aws import __main__ as command
from deploy.aws import cfn, preflight, variables
from deploy.aws.environment import Environment, Refused, limits, read
from deploy.aws.stacks import Stacks
from tests.deploy.conftest import tool
from tests.described import APPLICATION
from tests.machine import CHECKOUT

ACCOUNT = "123456789012"
REGION = "eu-central-1"
REVISION = "0" * 40
# Parts of the templates that moto does not make or cannot refer to, as paths.
NOT_IN_MOTO = [
    ("edge", "Resources", "Origin"),
    ("edge", "Resources", "Site"),
    ("edge", "Outputs", "SiteAddress"),
    ("edge", "Outputs", "TargetGroupName"),
    ("edge", "Outputs", "BalancerName"),
    ("database", "Resources", "Rotation"),
    ("database", "Resources", "Database", "Properties", "DBParameterGroupName"),
    ("database", "Outputs", "DatabaseHost"),
    ("database", "Outputs", "DatabaseSecret"),
]
SECRETS = {
    name: variables.parameter(name, variable) for name, variable in APPLICATION.variables.items() if variable.secret
}
STAND_INS = {
    "DatabaseHost": "db.example.internal",
    "DatabaseSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds-x",
    "RuntimeDatabaseSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:database-app-x",
    "DjangoSecret": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:django-x",
    # The ARNs of the application's own secrets; the database's template makes some of them.
    **{name: f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-x" for name in SECRETS.values()},
    "TargetGroupName": "targetgroup/lowtide-test/0",
    "BalancerName": "app/lowtide-test/0",
    "CapacityProvider": "lowtide-test",
}


def image(target: str) -> str:
    return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/lowtide-{target}@sha256:{'a' * 64}"


class Aws:
    """Clients of moto, and an environment whose certificates exist there."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        self.variables = variables
        self.session = boto3.Session("testing", "testing", region_name=REGION)
        self.url = variables["AWS_ENDPOINT_URL"]
        self.folder = folder
        stored = {
            key: self.client("acm", region).request_certificate(DomainName="shop.example.com")["CertificateArn"]
            for key, region in (("certificate", REGION), ("cloudfront_certificate", "us-east-1"))
        }
        self.settings = {"account": ACCOUNT, "region": REGION, "domain": "shop.example.com"} | stored

    def client(self, name: str, region: str = REGION) -> Any:
        return self.session.client(name, region_name=region, endpoint_url=self.url)

    def write(self, name: str = "test", **changes: Any) -> str:
        """Write an environment's file with settings that work and these `changes`; returns its name."""
        out = io.StringIO()
        values = self.settings | changes
        for key, value in values.items():
            if not isinstance(value, dict):
                print(f"{key} = {json.dumps(value)}", file=out)
        for key, value in values.items():
            if isinstance(value, dict):
                print(
                    f"[{key}]",
                    *(f"{name} = {json.dumps(setting)}" for name, setting in value.items()),
                    sep="\n",
                    file=out,
                )
        (self.folder / f"{name}.toml").write_text(out.getvalue())
        return name

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """python -m deploy.aws, with the environments of this test."""
        program = (
            "import sys; from pathlib import Path; import deploy.aws.environment as e; "
            f"e.read.__defaults__ = (Path({str(self.folder)!r}),); "
            "from deploy.aws.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )
        return subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=CHECKOUT,
            env=self.variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )

    def stacks(self) -> set[str]:
        """The stacks that exist, also those that only a change set has left behind."""
        return {
            f"{stack['StackName']} {stack['StackStatus']}"
            for stack in self.client("cloudformation").describe_stacks()["Stacks"]
        }


@pytest.fixture(scope="module")
def cloud(aws: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """An account with certificates and the prefix list of CloudFront."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        account = Aws(aws, tmp_path_factory.mktemp("environments"))
        account.client("ec2").create_managed_prefix_list(
            PrefixListName=preflight.PREFIX_LIST, MaxEntries=1, AddressFamily="IPv4"
        )
        yield account


@pytest.fixture(scope="module")
def deployed(cloud: Aws) -> Aws:
    """Make every stack from its template and the outputs of those before it."""
    environment = read(cloud.write(github="owner/name"), cloud.folder)
    known = STAND_INS | {"CloudFrontPrefixList": "pl-123", "Revision": REVISION}
    known |= {parameter: image(target) for parameter, target in preflight.IMAGES.items()}
    stacks = Stacks(cloud.session, environment, known)
    for stack in [*environment.stacks, "loadtest"]:
        given, missing = stacks.parameters(stack)
        assert not missing, f"{stack} needs {missing}"
        template = cfn.load(stack)
        for name, *path, last in NOT_IN_MOTO:
            if name == stack:
                place = template
                for key in path:
                    place = place[key]
                del place[last]
        stacks.client.create_stack(
            StackName=environment.stack_name(stack),
            TemplateBody=yaml.safe_dump(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
    return cloud


def test_the_task_is_as_the_template_says(deployed: Aws) -> None:
    definition = deployed.client("ecs").describe_task_definition(taskDefinition="lowtide-test")["taskDefinition"]
    app, nginx = definition["containerDefinitions"]
    rule = limits(4, 1, 128)
    assert (app["memory"], app["memoryReservation"]) == (rule.hard_mb, rule.soft_mb)
    assert app["image"] == image("app")
    assert nginx["image"] == image("nginx")
    assert {variable["name"]: variable["value"] for variable in app["environment"]}[
        "ALLOWED_HOSTS"
    ] == "shop.example.com"
    assert [variable["name"] for variable in app["secrets"]] == ["SECRET_KEY", "PGPASSWORD", *SECRETS]
    assert app["readonlyRootFilesystem"] is True
    assert nginx["dependsOn"] == [{"containerName": "app", "condition": "HEALTHY"}]


def test_the_service_runs_it_in_private_subnets(deployed: Aws) -> None:
    service = deployed.client("ecs").describe_services(cluster="lowtide-test", services=["lowtide-test"])["services"][0]
    assert service["taskDefinition"].rsplit("/")[-1].startswith("lowtide-test:")
    subnets = deployed.client("ec2").describe_subnets(
        Filters=[{"Name": "tag:Name", "Values": ["lowtide-test-private-*"]}]
    )["Subnets"]
    assert len(subnets) == 2
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == 2


def test_the_way_out_is_nat_alone(deployed: Aws) -> None:
    filters = [{"Name": "tag:aws:cloudformation:logical-id", "Values": ["PrivateRoutes"]}]
    tables = deployed.client("ec2").describe_route_tables(Filters=filters)["RouteTables"]
    assert tables
    for table in tables:
        (way,) = [route for route in table["Routes"] if route.get("DestinationCidrBlock") == "0.0.0.0/0"]
        assert way["NatGatewayId"].startswith("nat-")
        assert "GatewayId" not in way


def test_the_dashboard_is_json_with_names_filled_in(deployed: Aws) -> None:
    code = (
        "import boto3; print(boto3.client('cloudwatch').get_dashboard(DashboardName='lowtide-test')['DashboardBody'])"
    )
    done = tool("python", "-c", code, env=deployed.variables, check=True)
    first, second = json.loads(done.stdout)["widgets"][0]["properties"]["metrics"]
    assert first[1:6] == ["MemoryUtilized", "ClusterName", "lowtide-test", "ServiceName", "lowtide-test"]
    assert second[3].startswith("app/lowtide-test/")


def test_the_database_lets_only_the_service_in(deployed: Aws) -> None:
    groups = deployed.client("ec2").describe_security_groups()["SecurityGroups"]
    by_text = {group["Description"]: group for group in groups}
    (rule,) = by_text["PostgreSQL"]["IpPermissions"]
    service = by_text["The tasks of the application and of its migrations"]["GroupId"]
    assert (rule["FromPort"], rule["ToPort"]) == (5432, 5432)
    assert [pair["GroupId"] for pair in rule["UserIdGroupPairs"]] == [service]
    assert not rule["IpRanges"]


def test_the_database_is_encrypted_and_private(deployed: Aws) -> None:
    (database,) = deployed.client("rds").describe_db_instances()["DBInstances"]
    assert database["DBInstanceIdentifier"] == "lowtide-test"
    assert database["StorageEncrypted"] is True
    assert database["PubliclyAccessible"] is False


def test_the_balancer_listens_with_tls_and_asks_for_health(deployed: Aws) -> None:
    client = deployed.client("elbv2")
    (balancer,) = client.describe_load_balancers(Names=["lowtide-test"])["LoadBalancers"]
    assert balancer["Scheme"] == "internal"
    (listener,) = client.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
    assert listener["Certificates"][0]["CertificateArn"] == deployed.settings["certificate"]
    (group,) = client.describe_target_groups(Names=["lowtide-test"])["TargetGroups"]
    assert (group["HealthCheckPath"], group["TargetType"]) == ("/healthz", "ip")


def test_repositories_are_immutable(deployed: Aws) -> None:
    repositories = deployed.client("ecr").describe_repositories()["repositories"]
    assert {repository["repositoryName"]: repository["imageTagMutability"] for repository in repositories} == {
        f"lowtide-{target}": "IMMUTABLE" for target in ("app", "nginx", "locust")
    }


def test_ci_may_be_assumed_by_this_repository_only(deployed: Aws) -> None:
    role = deployed.client("iam").get_role(RoleName="lowtide-test-ci")["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    claims = statement["Condition"]["StringEquals"]
    assert claims["token.actions.githubusercontent.com:sub"] == "repo:owner/name:environment:test"
    assert statement["Principal"]["Federated"].startswith(f"arn:aws:iam::{ACCOUNT}:oidc-provider/")


def test_the_migration_runs_the_same_image(deployed: Aws) -> None:
    definition = deployed.client("ecs").describe_task_definition(taskDefinition="lowtide-test-migrate")[
        "taskDefinition"
    ]
    (container,) = definition["containerDefinitions"]
    assert container["image"] == image("app")
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    assert container["command"] == compose["services"]["migrate"]["command"]
    (job,) = yaml.safe_load_all((CHECKOUT / "deploy/kubernetes/base/migrate.yml").read_text())
    assert container["command"] == job["spec"]["template"]["spec"]["containers"][0]["command"]


# The command


def test_plan_changes_nothing(deployed: Aws) -> None:
    name = deployed.write(github="owner/name", parameters={"RequestsPerTask": 900})
    before = deployed.stacks()
    done = deployed.run("plan", name, "--only", "registry", "--only", "ci")
    assert done.returncode == 0, done.stderr
    assert "Nothing was changed." in done.stdout
    assert deployed.stacks() == before


def test_plan_lists_what_a_new_environment_gets(cloud: Aws) -> None:
    before = cloud.stacks()
    done = cloud.run("plan", cloud.write("fresh"), "--only", "network")
    assert done.returncode == 0, done.stderr
    assert "lowtide-fresh-network: new" in done.stdout
    assert "+ NatGateway (AWS::EC2::NatGateway)" in done.stdout
    assert cloud.stacks() == before


def test_deploy_makes_what_plan_showed(cloud: Aws) -> None:
    done = cloud.run("deploy", cloud.write("made"), "--only", "network", "--yes")
    assert done.returncode == 0, done.stderr
    vpcs = cloud.client("ec2").describe_vpcs(Filters=[{"Name": "tag:Name", "Values": ["lowtide-made"]}])["Vpcs"]
    assert len(vpcs) == 1


def test_deploy_without_an_answer_changes_nothing(cloud: Aws) -> None:
    before = cloud.stacks()
    done = cloud.run("deploy", cloud.write("unasked"), "--only", "network")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert cloud.stacks() == before


ARN = "arn:aws:acm:{region}:{account}:certificate/none"
REFUSED: list[tuple[str, dict[str, Any], list[str], str]] = [
    (
        "another-account",
        {
            "account": "210987654321",
            "certificate": ARN.format(region=REGION, account="210987654321"),
            "cloudfront_certificate": ARN.format(region="us-east-1", account="210987654321"),
        },
        [],
        "These credentials are of account 123456789012",
    ),
    ("no-certificate", {"certificate": ""}, [], "does not say certificate"),
    (
        "missing-certificate",
        {"certificate": ARN.format(region=REGION, account=ACCOUNT)},
        ["--only", "edge"],
        "certificate: arn:aws:acm:eu-central-1:123456789012:certificate/none cannot be read",
    ),
    (
        "certificate-elsewhere",
        {"certificate": ARN.format(region="eu-west-1", account=ACCOUNT)},
        [],
        "must be an ACM certificate of this account in eu-central-1",
    ),
    ("other-domain", {"domain": "www.example.org"}, ["--only", "edge"], "not for www.example.org"),
    ("no-image", {}, ["--only", "service"], f"There is no image lowtide-app:{REVISION}"),
    ("too-small", {"sizing": {"workers": 8, "memory": 512}}, [], "memory = 512 MiB is too small for the workers"),
    ("all-large", {"sizing": {"workers": 2, "large_workers": 2}}, [], "leaves none for small requests"),
    ("negative", {"sizing": {"workers": -1}}, [], "workers = -1 must be a whole number of at least 1"),
    ("misspelt", {"sizing": {"worker": 4}}, [], "[sizing] has no worker"),
    ("unknown", {"acount": "x"}, [], "acount is no setting"),
    ("no-stack", {}, ["--only", "databse"], "There is no stack databse"),
    ("no-table", {"parameters": "none"}, [], "parameters must be a table"),
    ("misspelt-parameter", {"parameters": {"InstanceTyp": "t3.large"}}, [], "InstanceTyp is none that can be chosen"),
    ("not-to-choose", {"parameters": {"VpcId": "vpc-1"}}, [], "VpcId is none that can be chosen"),
    ("not-allowed", {"parameters": {"Egress": "internet"}}, [], "Egress = internet must be one of nat, endpoints"),
    ("not-quoted", {"parameters": {"MultiAz": False}}, [], "MultiAz = False must be one of true, false, in quotes"),
    ("too-few", {"parameters": {"MinTasks": 0}}, [], "MinTasks = 0 must be a number of at least 1"),
    ("too-many", {"parameters": {"BackupDays": 36}}, [], "must be a number of at least 1 and at most 35"),
    ("no-prefix", {"parameters": {"CidrPrefix": "10"}}, [], "CidrPrefix = 10 does not match"),
    ("around-the-rule", {"parameters": {"AppMemory": 64}}, [], "AppMemory follows from [sizing]: say it there"),
    ("example-account", {"account": "000000000000"}, [], "is no AWS account"),
]


@pytest.mark.parametrize(("name", "changes", "words", "reason"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused_before_anything_changes(
    cloud: Aws, name: str, changes: dict[str, Any], words: list[str], reason: str
) -> None:
    cloud.write("bad", **changes)
    before = cloud.stacks()
    done = cloud.run("deploy", "bad", "--yes", "--revision", REVISION, *words)
    assert reason in done.stderr
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert cloud.stacks() == before


def test_a_certificate_that_is_not_issued_is_refused(cloud: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = read(cloud.write(), cloud.folder)

    class Pending:
        def describe_certificate(self, **_: Any) -> dict[str, Any]:
            return {"Certificate": {"DomainName": "*.example.com", "Status": "PENDING_VALIDATION"}}

    class Session:
        def client(self, *_: Any, **__: Any) -> Pending:
            return Pending()

    with pytest.raises(Refused, match="PENDING_VALIDATION"):
        preflight.certificates(Session(), environment)


@pytest.mark.parametrize(
    ("pattern", "domain", "covered"),
    [
        ("shop.example.com", "shop.example.com", True),
        ("*.example.com", "shop.example.com", True),
        ("*.example.com", "a.shop.example.com", False),
        ("*.example.com", "example.com", False),
    ],
)
def test_a_star_in_a_certificate_is_one_label(pattern: str, domain: str, covered: bool) -> None:
    assert preflight._covers(pattern, domain) is covered


def put_image(aws: Aws, target: str, revision: str) -> str:
    """An image in ECR under a tag; its digest."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": 1,
            "digest": f"sha256:{hashlib.sha256(f'{target} {revision}'.encode()).hexdigest()}",
        },
        "layers": [],
    }
    put = aws.client("ecr").put_image(
        repositoryName=f"lowtide-{target}", imageManifest=json.dumps(manifest), imageTag=revision
    )
    digest: str = put["image"]["imageId"]["imageDigest"]
    return digest


def test_an_image_that_exists_is_named_by_its_digest(deployed: Aws) -> None:
    digest = put_image(deployed, "app", "1" * 40)
    environment: Environment = read(deployed.write(), deployed.folder)
    images = preflight.images(deployed.session, environment, "1" * 40, ["AppImage"])
    assert images == {"AppImage": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/lowtide-app@{digest}"}


def test_the_serving_revision_is_known(deployed: Aws) -> None:
    done = deployed.run("revision", deployed.write(github="owner/name"))
    assert done.stdout.strip() == REVISION, done.stderr


def test_push_refuses_what_is_not_checked_out(deployed: Aws) -> None:
    """If the checkout is not that commit, nothing is built or pushed under its name."""
    done = deployed.run("push", deployed.write(github="owner/name"), "--revision", "f" * 40)
    assert done.returncode == 2
    assert f"The checkout is not exactly {'f' * 40}" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "Say which commit to go back to: --revision COMMIT."),
        (["--revision", "e" * 40], f"There is no image lowtide-app:{'e' * 40}"),
    ],
)
def test_rollback_refuses_what_it_cannot_go_back_to(deployed: Aws, words: list[str], reason: str) -> None:
    before = deployed.stacks()
    done = deployed.run("rollback", deployed.write(github="owner/name"), "--yes", *words)
    assert done.returncode == 2
    assert reason in done.stderr
    assert deployed.stacks() == before


@pytest.mark.parametrize(
    ("changes", "words", "reason"),
    [
        ({}, [], "add --i-own-this-host"),
        ({}, ["--i-own-this-host", "--workers", "0"], "load takes one worker at least"),
        ({"parameters": {"Egress": "endpoints"}}, ["--i-own-this-host"], "reach AWS' services only"),
        ({}, ["--i-own-this-host", "--revision", "e" * 40], f"There is no image lowtide-locust:{'e' * 40}"),
    ],
)
def test_load_is_refused_before_anything_is_started(
    deployed: Aws, changes: dict[str, Any], words: list[str], reason: str
) -> None:
    before = deployed.stacks()
    done = deployed.run("loadtest", deployed.write(**changes), *words)
    assert done.returncode == 2
    assert reason in done.stderr
    assert deployed.stacks() == before


def test_rollback_puts_the_images_of_that_commit_back(deployed: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback runs no migration. This test is last, because moto forgets a stack's outputs after a change set."""
    check = command.check
    monkeypatch.setattr(command, "read", lambda name: read(name, deployed.folder))
    monkeypatch.setattr(command, "check", lambda *words: check(*words) | STAND_INS)
    name = deployed.write(github="owner/name")
    digests = {target: put_image(deployed, target, "2" * 40) for target in ("app", "nginx")}
    command.run(command.parse(["rollback", name, "--revision", "2" * 40, "--yes"]))
    # moto makes a task definition empty when it is updated, so look at the parameters of the stack instead.
    (stack,) = deployed.client("cloudformation").describe_stacks(StackName="lowtide-test-service")["Stacks"]
    given = {parameter["ParameterKey"]: parameter["ParameterValue"] for parameter in stack["Parameters"]}
    assert given["Revision"] == "2" * 40
    pinned = {target: given[name].split("@")[1] for name, target in preflight.IMAGES.items() if name in given}
    assert pinned == digests
    assert deployed.client("ecs").list_tasks(cluster="lowtide-test")["taskArns"] == []
