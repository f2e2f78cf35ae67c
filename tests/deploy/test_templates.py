"""Properties of the CloudFormation templates. MUTATIONS breaks each of them, to show that its test notices."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from lowtide import processes
from tests.machine import CHECKOUT

Templates = dict[str, dict[str, Any]]
# A function that checks a property; it yields one line for each violation.
Property = Callable[[Templates], Iterator[str]]


def resources(templates: Templates, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for stack, template in templates.items():
        for name, resource in template["Resources"].items():
            if resource["Type"] == kind:
                yield f"{stack}.{name}", resource.get("Properties", {})


def containers(templates: Templates) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, task in resources(templates, "AWS::ECS::TaskDefinition"):
        for container in task["ContainerDefinitions"]:
            yield f"{name}.{container['Name']}", container


def container(templates: Templates, name: str) -> dict[str, Any]:
    return dict(containers(templates))[name]


def option(name: str) -> int:
    """A number that uwsgi.ini sets."""
    setting = re.search(rf"^{name} = (\d+)$", (CHECKOUT / "uwsgi.ini").read_text(), re.MULTILINE)
    assert setting, f"uwsgi.ini sets no {name}"
    return int(setting[1])


def contained(templates: Templates) -> Iterator[str]:
    for name, definition in containers(templates):
        if definition.get("ReadonlyRootFilesystem") is not True:
            yield f"{name} can write to its image"
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(definition.get("User"))):
            yield f"{name} may run as root"
        if definition.get("Privileged") or definition["LinuxParameters"].get("Capabilities") != {"Drop": ["ALL"]}:
            yield f"{name} keeps capabilities"
        if "no-new-privileges" not in definition.get("DockerSecurityOptions", []):
            yield f"{name} may gain privileges"
        if definition["LinuxParameters"].get("MaxSwap") != 0:
            yield f"{name} may swap"


def limited(templates: Templates) -> Iterator[str]:
    for name, definition in containers(templates):
        if "Memory" not in definition or "MemoryReservation" not in definition:
            yield f"{name} lacks a hard or a soft limit"
    app = container(templates, "service.Task.app")
    if app["Memory"] != {"Ref": "AppMemory"} or app["MemoryReservation"] != {"Ref": "AppMemoryReservation"}:
        yield "the application's memory does not follow the sizing"


def by_digest(templates: Templates) -> Iterator[str]:
    for name, definition in containers(templates):
        parameter = templates[name.split(".")[0]]["Parameters"].get(definition["Image"].get("Ref"), {})
        if "@sha256:[0-9a-f]{64}" not in parameter.get("AllowedPattern", ""):
            yield f"{name} takes an image that is not named by its digest"


def socket_shared(templates: Templates) -> Iterator[str]:
    task = dict(resources(templates, "AWS::ECS::TaskDefinition"))["service.Task"]
    if task.get("Volumes") != [{"Name": "run", "DockerVolumeConfiguration": {"Scope": "task", "Driver": "local"}}]:
        yield "the socket's volume is not the task's own"
    for definition in task["ContainerDefinitions"]:
        if definition.get("MountPoints") != [{"SourceVolume": "run", "ContainerPath": "/run/lowtide"}]:
            yield f"{definition['Name']} does not share the socket"


def stops_in_order(templates: Templates) -> Iterator[str]:
    app, nginx = container(templates, "service.Task.app"), container(templates, "service.Task.nginx")
    if nginx.get("DependsOn") != [{"ContainerName": "app", "Condition": "HEALTHY"}]:
        yield "nginx neither waits for the application nor stops before it"
    if app["StopTimeout"] <= max(option("worker-reload-mercy"), option("harakiri")):
        yield "the application is killed before mercy and harakiri have ended its slowest request"
    if nginx["StopTimeout"] <= 60:
        yield "nginx is killed while it still waits for the application"
    longest = max(app["StopTimeout"], nginx["StopTimeout"])
    launch = dict(resources(templates, "AWS::EC2::LaunchTemplate"))["cluster.Launch"]
    data = launch["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Fn::Sub"]
    if int(re.search(r"ECS_CONTAINER_STOP_TIMEOUT=(\d+)s", data)[1]) < longest:  # type: ignore[index]
        yield "the agent kills before the longest stopTimeout"


def checked(templates: Templates) -> Iterator[str]:
    for name in ("app", "nginx"):
        health = container(templates, f"service.Task.{name}").get("HealthCheck")
        if not health or health["Command"][0] != "CMD" or "/healthz" not in " ".join(health["Command"]):
            yield f"{name} has no health check of its own"
    target = dict(resources(templates, "AWS::ElasticLoadBalancingV2::TargetGroup"))["edge.Targets"]
    if (target["HealthCheckPath"], target["Matcher"]) != ("/healthz", {"HttpCode": "200"}):
        yield "the load balancer takes something else than the application's answer for health"
    if target.get("HealthCheckPort") != "traffic-port":
        yield "the load balancer asks another port than the one that serves"


def rolls_back(templates: Templates) -> Iterator[str]:
    service = dict(resources(templates, "AWS::ECS::Service"))["service.Service"]
    rollout = service["DeploymentConfiguration"]
    if rollout.get("DeploymentCircuitBreaker") != {"Enable": True, "Rollback": True}:
        yield "a deployment that fails is not rolled back"
    if rollout["MinimumHealthyPercent"] < 100:
        yield "a deployment takes tasks away before new ones serve"
    if "DesiredCount" in service:
        yield "a deployment resets the number of tasks"


def schedules_once(templates: Templates) -> Iterator[str]:
    service = templates["processes"]["Resources"]["Service"]["Properties"]
    if service["DesiredCount"] != 1 or service["DeploymentConfiguration"]["MaximumPercent"] != 100:
        yield "two schedulers run at the same time"
    if container(templates, "processes.Task.processes")["StopTimeout"] <= processes.STOP_S:
        yield "the processes are killed before they have ended"


def scales(templates: Templates) -> Iterator[str]:
    policies = dict(resources(templates, "AWS::ApplicationAutoScaling::ScalingPolicy"))
    scaled = {
        policy["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]
        for policy in policies.values()
    }
    if scaled != {"ECSServiceAverageMemoryUtilization", "ALBRequestCountPerTarget"}:
        yield f"tasks do not scale on memory and on requests, but on {scaled}"
    capacity = dict(resources(templates, "AWS::ECS::CapacityProvider"))["cluster.Capacity"]["AutoScalingGroupProvider"]
    group = dict(resources(templates, "AWS::AutoScaling::AutoScalingGroup"))["cluster.Instances"]
    if capacity["ManagedScaling"]["Status"] != "ENABLED":
        yield "instances do not come and go with the tasks"
    if capacity["ManagedTerminationProtection"] == "ENABLED" and not group.get("NewInstancesProtectedFromScaleIn"):
        yield "ECS refuses managed termination protection of instances that are not protected"


def private(templates: Templates) -> Iterator[str]:
    balancer = dict(resources(templates, "AWS::ElasticLoadBalancingV2::LoadBalancer"))["edge.Balancer"]
    if balancer["Scheme"] != "internal":
        yield "the load balancer is on the internet"
    rules = templates["network"]["Resources"]["BalancerGroup"]["Properties"]["SecurityGroupIngress"]
    if [rule.get("SourcePrefixListId") for rule in rules] != [{"Ref": "CloudFrontPrefixList"}]:
        yield "somebody else than CloudFront reaches the load balancer"
    for name, distribution in resources(templates, "AWS::CloudFront::Distribution"):
        for origin in distribution["DistributionConfig"]["Origins"]:
            if "VpcOriginConfig" not in origin:
                yield f"{name} reaches its origin over the internet"
    for name, database in resources(templates, "AWS::RDS::DBInstance"):
        if database.get("PubliclyAccessible") is not False:
            yield f"{name} has a public address"
    for name, service in resources(templates, "AWS::ECS::Service"):
        if service["NetworkConfiguration"]["AwsvpcConfiguration"]["AssignPublicIp"] != "DISABLED":
            yield f"{name} gives its tasks public addresses"


def nothing_open(templates: Templates) -> Iterator[str]:
    groups = [
        (name, rule)
        for name, group in resources(templates, "AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]
    for name, rule in [*groups, *resources(templates, "AWS::EC2::SecurityGroupIngress")]:
        if rule.get("CidrIp") == "0.0.0.0/0" or "CidrIpv6" in rule:
            yield f"{name} lets everybody in"


def https(templates: Templates) -> Iterator[str]:
    for name, listener in resources(templates, "AWS::ElasticLoadBalancingV2::Listener"):
        if listener["Protocol"] != "HTTPS" or not listener["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2"):
            yield f"{name} speaks something else than TLS 1.2 or newer"
    for name, origin in resources(templates, "AWS::CloudFront::VpcOrigin"):
        if origin["VpcOriginEndpointConfig"]["OriginProtocolPolicy"] != "https-only":
            yield f"{name} is called without TLS"
    for name, distribution in resources(templates, "AWS::CloudFront::Distribution"):
        config = distribution["DistributionConfig"]
        for behaviour in [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]:
            if behaviour["ViewerProtocolPolicy"] != "redirect-to-https":
                yield f"{name} serves without TLS"


def caches_static_only(templates: Templates) -> Iterator[str]:
    config = dict(resources(templates, "AWS::CloudFront::Distribution"))["edge.Site"]["DistributionConfig"]
    # https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-cache-policies.html
    disabled, optimized = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "658327ea-f89d-4fab-a63d-7e88639e58f6"
    if config["DefaultCacheBehavior"]["CachePolicyId"] != disabled:
        yield "pages are cached, anybody's own among them"
    if [(behavior["PathPattern"], behavior["CachePolicyId"]) for behavior in config["CacheBehaviors"]] != [
        ("/static/*", optimized)
    ]:
        yield "static files are not cached, or more than they"


def logged(templates: Templates) -> Iterator[str]:
    balancer = dict(resources(templates, "AWS::ElasticLoadBalancingV2::LoadBalancer"))["edge.Balancer"]
    attributes = {attribute["Key"]: attribute["Value"] for attribute in balancer["LoadBalancerAttributes"]}
    if attributes.get("access_logs.s3.enabled") != "true":
        yield "the load balancer keeps no log"
    for name, group in resources(templates, "AWS::Logs::LogGroup"):
        if "RetentionInDays" not in group:
            yield f"{name} keeps its lines for ever"
    for name, definition in containers(templates):
        if name.startswith("service.") and definition["LogConfiguration"]["Options"].get("mode") != "non-blocking":
            yield f"{name} waits for its log"


def registry_immutable(templates: Templates) -> Iterator[str]:
    for name, repository in resources(templates, "AWS::ECR::Repository"):
        if repository["ImageTagMutability"] != "IMMUTABLE":
            yield f"{name}: a tag may come to mean another image"
        if repository["ImageScanningConfiguration"] != {"ScanOnPush": True}:
            yield f"{name} is not scanned"
        if not json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]:
            yield f"{name} grows for ever"


def secrets_kept(templates: Templates) -> Iterator[str]:
    for name, database in resources(templates, "AWS::RDS::DBInstance"):
        if database.get("ManageMasterUserPassword") is not True or "MasterUserPassword" in database:
            yield f"{name}: somebody knows the password"
        if database.get("StorageEncrypted") is not True:
            yield f"{name} is not encrypted"
    if not list(resources(templates, "AWS::SecretsManager::RotationSchedule")):
        yield "the password is never changed"
    for name, definition in containers(templates):
        for variable in definition.get("Environment", []):
            if re.search("SECRET|PASSWORD|TOKEN", variable["Name"]):
                yield f"{name}: {variable['Name']} stands in the task definition for all to read"


def roles_split(templates: Templates) -> Iterator[str]:
    """The migration connects as the owner of the tables, and what serves requests does not."""
    users, passwords = {}, {}
    for name in ("migrate.Task.migrate", "service.Task.app"):
        definition = container(templates, name)
        (url,) = (pair["Value"]["Fn::Sub"] for pair in definition["Environment"] if pair["Name"] == "DATABASE_URL")
        users[name] = urlsplit(url).username
        passwords[name] = [pair["ValueFrom"] for pair in definition["Secrets"] if pair["Name"] == "PGPASSWORD"]
    owner = dict(resources(templates, "AWS::RDS::DBInstance"))["database.Database"]["MasterUsername"]
    if users["migrate.Task.migrate"] != owner:
        yield "the migration is not the owner of the tables"
    if users["service.Task.app"] == owner or len(set(map(str, passwords.values()))) == 1:
        yield "the application is the owner of the tables"
    if "runtime_role" not in str(container(templates, "migrate.Task.migrate")["Command"]):
        yield "nobody makes the application's role"


# Actions that IAM cannot restrict to a resource, according to the service authorization reference.
WITHOUT_RESOURCE = {
    "ecr:GetAuthorizationToken",
    "ecs:DiscoverPollEndpoint",
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "application-autoscaling:DescribeScalableTargets",
    "application-autoscaling:DescribeScalingPolicies",
    "logs:DescribeLogGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeSecurityGroups",
}


def statements(templates: Templates) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, role in resources(templates, "AWS::IAM::Role"):
        for policy in role.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, statement


def least_privilege(templates: Templates) -> Iterator[str]:
    for name, role in resources(templates, "AWS::IAM::Role"):
        if role.get("ManagedPolicyArns"):
            yield f"{name} has a policy that somebody else writes"
    for name, statement in statements(templates):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if any("*" in action for action in actions):
            yield f"{name} may do {actions}"
        if statement["Resource"] == "*" and not set(actions) <= WITHOUT_RESOURCE:
            yield f"{name} may do {sorted(set(actions) - WITHOUT_RESOURCE)} to everything"
        if "iam:PassRole" in actions and "iam:PassedToService" not in str(statement.get("Condition")):
            yield f"{name} may hand roles to any service"


# The repository from which the image of each parameter is pulled.
REPOSITORIES = {"AppImage": "lowtide-app", "NginxImage": "lowtide-nginx", "LocustImage": "lowtide-locust"}


def roles_fit_their_tasks(templates: Templates) -> Iterator[str]:
    """A role may read the secrets and pull the images that its tasks name, and no others."""
    definitions: dict[str, list[dict[str, Any]]] = {}
    for _, task in resources(templates, "AWS::ECS::TaskDefinition"):
        definitions.setdefault(task["ExecutionRoleArn"]["Ref"], []).extend(task["ContainerDefinitions"])
    for name, of_tasks in definitions.items():
        text = json.dumps([container.get("Secrets", []) for container in of_tasks])
        secrets = set(re.findall(r'\$\{(\w+)\}|"Ref": "(\w+)"', text))
        images = {REPOSITORIES[container["Image"]["Ref"]] for container in of_tasks if "Ref" in container["Image"]}
        role = templates["roles"]["Resources"][name]["Properties"]
        given = [statement for policy in role["Policies"] for statement in policy["PolicyDocument"]["Statement"]]
        readable = json.dumps(
            [statement["Resource"] for statement in given if statement["Action"] == "secretsmanager:GetSecretValue"]
        )
        pulled = json.dumps(
            [statement["Resource"] for statement in given if "ecr:BatchGetImage" in statement["Action"]]
        )
        if {first or second for first, second in secrets} != set(re.findall(r'"Ref": "(\w+)"', readable)):
            yield f"{name} cannot read the secrets of its tasks, or can read more"
        if images != set(re.findall(r"repository/([\w-]+)", pulled)):
            yield f"{name} cannot pull the images of its tasks, or can pull more"


def ci_makes_no_roles(templates: Templates) -> Iterator[str]:
    for name, statement in statements({"ci": templates["ci"]}):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if extra := {action for action in actions if action.startswith("iam:")} - {"iam:PassRole"}:
            yield f"{name} may {extra}"


def ci_is_ours_alone(templates: Templates) -> Iterator[str]:
    trust = templates["ci"]["Resources"]["CiRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    for statement in trust:
        claims = statement.get("Condition", {}).get("StringEquals", {})
        subject = str(claims.get("token.actions.githubusercontent.com:sub"))
        if claims.get("token.actions.githubusercontent.com:aud") != "sts.amazonaws.com":
            yield "tokens for another audience are taken"
        if "repo:${GitHubRepository}:environment:${Environment}" not in subject or "*" in subject:
            yield "another repository or branch may be CI"
    if list(resources(templates, "AWS::IAM::AccessKey")) or list(resources(templates, "AWS::IAM::User")):
        yield "there is a key that lives longer than a run"


def alarmed(templates: Templates) -> Iterator[str]:
    alarms = dict(resources(templates, "AWS::CloudWatch::Alarm"))
    for wanted in ("MemoryAlarm", "OomAlarm", "ErrorAlarm", "RecycleAlarm"):
        if not alarms.get(f"alarms.{wanted}", {}).get("AlarmActions"):
            yield f"nobody is told by {wanted}"


def alarm_is_of_the_limit_that_kills(templates: Templates) -> Iterator[str]:
    """ECS measures against the reservations of a task's containers; the alarm against the application's limit."""
    parameters = templates["service"]["Parameters"]
    hard, soft = (parameters[name]["Default"] for name in ("AppMemory", "AppMemoryReservation"))
    nginx = container(templates, "service.Task.nginx")["MemoryReservation"]
    alarm = dict(resources(templates, "AWS::CloudWatch::Alarm"))["alarms.MemoryAlarm"]
    expression = alarm["Metrics"][0]["Expression"]["Fn::Sub"]
    if expression != f"used * (${{AppMemoryReservation}} + {nginx}) / ${{AppMemory}}":
        yield f"the alarm compares {expression}"
    at_rest = 100 * (soft + nginx) / hard
    if not at_rest < alarm["Threshold"] < 100:
        yield f"the alarm fires at {alarm['Threshold']} %, and a task at rest may hold {at_rest:.0f} %"


def way_out_is_a_choice(templates: Templates) -> Iterator[str]:
    network = templates["network"]["Resources"]
    for name in ("NatAddress", "NatGateway", "PrivateDefaultRoute"):
        if network[name].get("Condition") != "Nat":
            yield f"{name} is there whatever was chosen"
    reached = set()
    for resource in network.values():
        if resource["Type"] == "AWS::EC2::VPCEndpoint":
            reached.add(resource["Properties"]["ServiceName"]["Fn::Sub"].removeprefix("com.amazonaws.${AWS::Region}."))
            # The endpoint of S3 is a gateway, which costs nothing.
            if (
                resource.get("Condition") != "Endpoints"
                and resource["Properties"].get("VpcEndpointType") == "Interface"
            ):
                yield "an interface endpoint is paid for whatever was chosen"
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
    needed = {"ecr.api", "ecr.dkr", "s3", "ecs", "ecs-agent", "ecs-telemetry", "logs", "secretsmanager"}
    if needed - reached:
        yield f"without NAT nothing reaches {sorted(needed - reached)}"


def dashboard_draws_the_picture(templates: Templates) -> Iterator[str]:
    board = dict(resources(templates, "AWS::CloudWatch::Dashboard"))["alarms.Dashboard"]
    picture = json.loads(board["DashboardBody"]["Fn::Sub"])["widgets"][0]["properties"]["metrics"]
    drawn = {(metric[1], metric[-1]["color"], metric[-1]["yAxis"]) for metric in picture}
    if drawn != {("MemoryUtilized", "#1f77b4", "left"), ("RequestCount", "#d62728", "right")}:
        yield "the first widget is not memory in blue and requests in red"


def log_patterns_match(templates: Templates) -> Iterator[str]:
    """The filters ask for what lowtide/recycles.py writes."""
    from lowtide.recycles import Recycle

    line = json.loads(Recycle(0.0, 1, 1, "oom", 0.0, None, None).line())
    for name, metric in resources(templates, "AWS::Logs::MetricFilter"):
        for key, value in re.findall(r'\$\.(\w+) = "(\w+)"', metric["FilterPattern"]):
            if line.get(key) != value:
                yield f"{name} waits for {key} = {value}, which is never written"


def routed(templates: Templates) -> Iterator[str]:
    network = templates["network"]["Resources"]
    for subnet in ("PrivateSubnetA", "PrivateSubnetB"):
        tables = [
            association["RouteTableId"]
            for _, association in resources(templates, "AWS::EC2::SubnetRouteTableAssociation")
            if association["SubnetId"] == {"Ref": subnet}
        ]
        if tables != [{"Ref": "PrivateRoutes"}]:
            yield f"{subnet} takes other routes than the private ones"
    if "GatewayId" in network["PrivateDefaultRoute"]["Properties"]:
        yield "private subnets are on the internet"


def instances_guarded(templates: Templates) -> Iterator[str]:
    for name, launch in resources(templates, "AWS::EC2::LaunchTemplate"):
        if launch["LaunchTemplateData"]["MetadataOptions"] != {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}:
            yield f"{name}: a container reaches the instance's credentials"


def inputs_exist(templates: Templates) -> Iterator[str]:
    """Every parameter without a default is an output of another stack, or something that the command passes."""
    given = {
        *("Environment", "Domain", "CertificateArn", "CloudFrontCertificateArn", "GitHubRepository", "AppMemory"),
        *("AppMemoryReservation", "CloudFrontPrefixList", "Revision", "AppImage", "NginxImage", "LocustImage"),
    }
    outputs = {name for template in templates.values() for name in template.get("Outputs", {})}
    for stack, template in templates.items():
        for name, rule in template.get("Parameters", {}).items():
            if "Default" not in rule and name not in outputs | given:
                yield f"{stack}: nobody gives {name}"


def data_outlives(templates: Templates) -> Iterator[str]:
    database = templates["database"]["Resources"]["Database"]
    if {database.get("DeletionPolicy"), database.get("UpdateReplacePolicy")} != {"Snapshot"}:
        yield "the data goes with the stack"


def set_at(*path: Any, to: Any) -> Callable[[Templates], None]:
    """A mutation that replaces the value at a path; a callable makes the new value from the old one."""

    def mutate(templates: Templates) -> None:
        place: Any = templates
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to(place[path[-1]]) if callable(to) else to

    return mutate


def drop(*path: Any) -> Callable[[Templates], None]:
    def mutate(templates: Templates) -> None:
        place: Any = templates
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return mutate


TASK = ("Resources", "Task", "Properties")
ROLES = ("roles", "Resources")
STATEMENTS = ("Properties", "Policies", 0, "PolicyDocument", "Statement")
APP = ("service", "Resources", "Task", "Properties", "ContainerDefinitions", 0)
NGINX = ("service", "Resources", "Task", "Properties", "ContainerDefinitions", 1)
SITE = ("edge", "Resources", "Site", "Properties", "DistributionConfig")
CI = ("ci", "Resources", "CiRole", "Properties")
INSTANCE_POLICY = ("cluster", "Resources", "InstanceRole", "Properties", "Policies", 0, "PolicyDocument", "Statement")


def at_rest_is_an_alarm(templates: Templates) -> None:
    """Lowers the limit until a task at rest reaches the alarm's threshold, whatever was measured."""
    parameters = templates["service"]["Parameters"]
    alarm = dict(resources(templates, "AWS::CloudWatch::Alarm"))["alarms.MemoryAlarm"]
    at_rest = (
        parameters["AppMemoryReservation"]["Default"] + container(templates, "service.Task.nginx")["MemoryReservation"]
    )
    parameters["AppMemory"]["Default"] = 100 * at_rest / alarm["Threshold"]


MUTATIONS: list[tuple[Property, Callable[[Templates], None]]] = [
    (contained, drop(*APP, "ReadonlyRootFilesystem")),
    (contained, set_at(*NGINX, "User", to="0:10001")),
    (contained, set_at(*APP, "LinuxParameters", "Capabilities", to={"Add": ["SYS_PTRACE"]})),
    (contained, drop("migrate", "Resources", "Task", "Properties", "ContainerDefinitions", 0, "DockerSecurityOptions")),
    (contained, drop(*APP, "LinuxParameters", "MaxSwap")),
    (limited, drop(*NGINX, "Memory")),
    (limited, set_at(*APP, "MemoryReservation", to=256)),
    (by_digest, set_at("service", "Parameters", "NginxImage", "AllowedPattern", to=".*")),
    (by_digest, set_at(*APP, "Image", to={"Fn::Sub": "lowtide-app:latest"})),
    (socket_shared, drop(*NGINX, "MountPoints")),
    (socket_shared, set_at("service", "Resources", "Task", "Properties", "Volumes", to=[{"Name": "run"}])),
    (stops_in_order, drop(*NGINX, "DependsOn")),
    (stops_in_order, set_at(*APP, "StopTimeout", to=60)),
    (stops_in_order, set_at(*NGINX, "StopTimeout", to=30)),
    (
        stops_in_order,
        set_at(
            *(
                "cluster",
                "Resources",
                "Launch",
                "Properties",
                "LaunchTemplateData",
                "UserData",
                "Fn::Base64",
                "Fn::Sub",
            ),
            to=lambda text: text.replace("=80s", "=30s"),
        ),
    ),
    (checked, drop(*APP, "HealthCheck")),
    (checked, set_at("edge", "Resources", "Targets", "Properties", "HealthCheckPath", to="/")),
    (checked, set_at("edge", "Resources", "Targets", "Properties", "Matcher", "HttpCode", to="200-499")),
    (checked, drop("edge", "Resources", "Targets", "Properties", "HealthCheckPort")),
    (
        rolls_back,
        set_at(
            *("service", "Resources", "Service", "Properties", "DeploymentConfiguration", "DeploymentCircuitBreaker"),
            *("Rollback",),
            to=False,
        ),
    ),
    (
        rolls_back,
        set_at(
            *("service", "Resources", "Service", "Properties", "DeploymentConfiguration", "MinimumHealthyPercent"),
            to=50,
        ),
    ),
    (rolls_back, set_at("service", "Resources", "Service", "Properties", to=lambda old: old | {"DesiredCount": 2})),
    (
        schedules_once,
        set_at("processes", "Resources", "Service", "Properties", "DeploymentConfiguration", "MaximumPercent", to=200),
    ),
    (schedules_once, set_at("processes", *TASK, "ContainerDefinitions", 0, "StopTimeout", to=30)),
    (scales, drop("service", "Resources", "ScaleOnMemory")),
    (scales, drop("cluster", "Resources", "Instances", "Properties", "NewInstancesProtectedFromScaleIn")),
    (private, set_at("edge", "Resources", "Balancer", "Properties", "Scheme", to="internet-facing")),
    (private, drop(*SITE, "Origins", 0, "VpcOriginConfig")),
    (
        private,
        set_at(
            *("network", "Resources", "BalancerGroup", "Properties", "SecurityGroupIngress"),
            to=lambda rules: [*rules, {"IpProtocol": "tcp", "CidrIp": "10.0.0.0/8"}],
        ),
    ),
    (private, set_at("database", "Resources", "Database", "Properties", "PubliclyAccessible", to=True)),
    (
        private,
        set_at(
            *("service", "Resources", "Service", "Properties", "NetworkConfiguration", "AwsvpcConfiguration"),
            *("AssignPublicIp",),
            to="ENABLED",
        ),
    ),
    (
        nothing_open,
        set_at(
            "network", "Resources", "DatabaseFromService", "Properties", to=lambda rule: rule | {"CidrIp": "0.0.0.0/0"}
        ),
    ),
    (https, set_at("edge", "Resources", "Https", "Properties", "Protocol", to="HTTP")),
    (https, set_at("edge", "Resources", "Https", "Properties", "SslPolicy", to="ELBSecurityPolicy-2016-08")),
    (
        https,
        set_at(
            *("edge", "Resources", "Origin", "Properties", "VpcOriginEndpointConfig", "OriginProtocolPolicy"),
            to="http-only",
        ),
    ),
    (https, set_at(*SITE, "CacheBehaviors", 0, "ViewerProtocolPolicy", to="allow-all")),
    (
        caches_static_only,
        set_at(*SITE, "DefaultCacheBehavior", "CachePolicyId", to="658327ea-f89d-4fab-a63d-7e88639e58f6"),
    ),
    (caches_static_only, set_at(*SITE, "CacheBehaviors", 0, "PathPattern", to="/*")),
    (logged, set_at("edge", "Resources", "Balancer", "Properties", "LoadBalancerAttributes", to=[])),
    (logged, drop("service", "Resources", "AppLogs", "Properties", "RetentionInDays")),
    (logged, drop(*APP, "LogConfiguration", "Options", "mode")),
    (registry_immutable, set_at("registry", "Resources", "App", "Properties", "ImageTagMutability", to="MUTABLE")),
    (
        registry_immutable,
        set_at("registry", "Resources", "Nginx", "Properties", "ImageScanningConfiguration", to={"ScanOnPush": False}),
    ),
    (secrets_kept, drop("database", "Resources", "Database", "Properties", "ManageMasterUserPassword")),
    (secrets_kept, drop("database", "Resources", "Database", "Properties", "StorageEncrypted")),
    (secrets_kept, drop("database", "Resources", "Rotation")),
    (roles_split, set_at(*APP, "Environment", to=[{"Name": "DATABASE_URL", "Value": {"Fn::Sub": "p://lowtide@h/d"}}])),
    (
        roles_split,
        set_at("migrate", *APP[1:], "Command", to=["python", "-m", "lowtide.application", "manage", "migrate"]),
    ),
    (secrets_kept, set_at(*APP, "Environment", to=[{"Name": "SECRET_KEY", "Value": "x"}])),
    (least_privilege, set_at(*INSTANCE_POLICY, 0, "Action", to="ecs:*")),
    (least_privilege, set_at(*INSTANCE_POLICY, 0, "Resource", to="*")),
    (
        least_privilege,
        set_at(
            *("cluster", "Resources", "InstanceRole", "Properties"),
            to=lambda role: role | {"ManagedPolicyArns": ["arn:aws:iam::aws:policy/AdministratorAccess"]},
        ),
    ),
    (least_privilege, drop(*CI, "Policies", 1, "PolicyDocument", "Statement", 3, "Condition")),
    (roles_fit_their_tasks, drop(*ROLES, "MigrationRole", *STATEMENTS, 2)),
    (roles_fit_their_tasks, set_at(*ROLES, "MigrationRole", *STATEMENTS, 2, "Resource", to=[{"Ref": "DjangoSecret"}])),
    (roles_fit_their_tasks, set_at(*ROLES, "ExecutionRole", *STATEMENTS, 1, "Resource", to="repository/lowtide-app")),
    (roles_fit_their_tasks, set_at("migrate", *TASK, "ExecutionRoleArn", "Ref", to="ExecutionRole")),
    (ci_makes_no_roles, set_at(*CI, "Policies", 1, "PolicyDocument", "Statement", 0, "Action", to="iam:CreateRole")),
    (
        ci_is_ours_alone,
        set_at(
            *CI,
            *("AssumeRolePolicyDocument", "Statement", 0, "Condition", "StringEquals"),
            *("token.actions.githubusercontent.com:sub",),
            to="repo:*",
        ),
    ),
    (ci_is_ours_alone, set_at("ci", "Resources", to=lambda old: old | {"Key": {"Type": "AWS::IAM::AccessKey"}})),
    (alarmed, drop("alarms", "Resources", "OomAlarm")),
    (alarmed, drop("alarms", "Resources", "RecycleAlarm", "Properties", "AlarmActions")),
    (alarm_is_of_the_limit_that_kills, at_rest_is_an_alarm),
    (alarm_is_of_the_limit_that_kills, set_at(*NGINX, "MemoryReservation", to=128)),
    (alarm_is_of_the_limit_that_kills, set_at("alarms", "Resources", "MemoryAlarm", "Properties", "Threshold", to=100)),
    (way_out_is_a_choice, drop("network", "Resources", "LogsEndpoint")),
    (way_out_is_a_choice, drop("network", "Resources", "NatGateway", "Condition")),
    (way_out_is_a_choice, drop("network", "Resources", "EcsEndpoint", "Condition")),
    (
        dashboard_draws_the_picture,
        set_at(
            *("alarms", "Resources", "Dashboard", "Properties", "DashboardBody", "Fn::Sub"),
            to=lambda text: text.replace("MemoryUtilized", "CpuUtilized"),
        ),
    ),
    (
        log_patterns_match,
        set_at(
            *("alarms", "Resources", "OomFilter", "Properties", "FilterPattern"),
            to='{ $.event = "recycle" && $.reason = "killed" }',
        ),
    ),
    (
        instances_guarded,
        set_at(
            *("cluster", "Resources", "Launch", "Properties", "LaunchTemplateData", "MetadataOptions", "HttpTokens"),
            to="optional",
        ),
    ),
    (
        routed,
        set_at("network", "Resources", "PrivateRoutesB", "Properties", "RouteTableId", to={"Ref": "PublicRoutes"}),
    ),
    (inputs_exist, drop("network", "Outputs", "PrivateSubnetB")),
    (data_outlives, set_at("database", "Resources", "Database", "DeletionPolicy", to="Delete")),
]
PROPERTIES = list(dict.fromkeys(prop for prop, _ in MUTATIONS))


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.__name__)
def test_property(prop: Property, parsed: Templates) -> None:
    assert list(prop(parsed)) == []


@pytest.mark.parametrize(
    ("prop", "mutate"), MUTATIONS, ids=[f"{prop.__name__}-{number}" for number, (prop, _) in enumerate(MUTATIONS)]
)
def test_property_notices_its_mutation(prop: Property, mutate: Callable[[Templates], None], parsed: Templates) -> None:
    mutate(parsed)
    assert list(prop(parsed)) != []
