"""An environment's settings: the file environments/NAME.toml, and the templates' parameters that follow from it."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.aws import cfn, variables
from lowtide import application, defaults, sizing

HERE = Path(__file__).parent
APP = HERE.parents[1] / "app"
# What the container's /tmp may hold (service.yml, Tmpfs), MiB. The kernel counts it as memory of the container.
TMPFS_MB = 64
_NAME = re.compile(r"[a-z][a-z0-9-]{1,15}")
_CERTIFICATE = re.compile(r"arn:aws[a-z-]*:acm:(?P<region>[a-z0-9-]+):(?P<account>[0-9]{12}):certificate/.+")
_SIZING = {"workers": 1, "large_workers": 0, "reload_on_rss": 1, "large_need": 0, "memory": 1}
# Parameters that are computed from [sizing], so that they always fit together.
_SIZED = {"Workers", "LargeWorkers", "ReloadOnRss", "LargeNeedMb", "AppMemory", "AppMemoryReservation"}


class Refused(Exception):
    """The deployment must not go on; the message says why and what to do. Nothing has been changed."""


@dataclass(frozen=True)
class Limits:
    """Memory of the application's container, MiB.

    Attributes:
        hard_mb: beyond this the kernel kills.
        soft_mb: the most that the container holds while no large request runs.
    """

    hard_mb: int
    soft_mb: int


def _measured() -> sizing.Load:
    """What was measured of the application in this checkout.

    Raises:
        Refused: nothing was.
        application.Invalid: its lowtide.toml cannot be used.
    """
    described = application.read(APP)
    load = sizing.measured(described)
    if load is None:
        raise Refused(f"{described.file} has no [measured]: run `make loadtest` and `make size ARGS=--apply`.")
    return load


def limits(
    workers: int, large_workers: int, reload_on_rss: int, large_need: float | None = None, memory: int | None = None
) -> Limits:
    """The container's limits by the sizing rule, plus what its tmpfs may hold; all in MiB.

    `large_need` is what the largest request adds (default: as measured, and a tenth more), `memory` the hard limit
    wanted (default: the least that the rule allows).

    Raises:
        Refused: the workers do not fit into `memory`, all of them are for large requests, or nothing was measured.
    """
    load = _measured()
    if large_workers >= workers:
        raise Refused(f"large_workers = {large_workers} of workers = {workers} leaves none for small requests.")
    bound = sizing.bound(load, workers, large_workers, reload_on_rss, large_need)
    least = sizing.step_up(bound.total_mb + TMPFS_MB)
    if memory is not None and memory < bound.total_mb + TMPFS_MB:
        raise Refused(
            f"memory = {memory} MiB is too small for the workers: {bound.words()}, and {TMPFS_MB} MiB for /tmp. "
            f"Write {least} or more, fewer workers, or a lower reload_on_rss."
        )
    hard = memory or least
    return Limits(hard, min(hard, sizing.step_up(bound.rest_mb + TMPFS_MB)))


@dataclass(frozen=True)
class Environment:
    """What environments/NAME.toml says, checked as far as is possible without asking AWS."""

    name: str
    account: str
    region: str
    domain: str
    certificate: str
    cloudfront_certificate: str
    github: str = ""
    sizing: dict[str, int] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def stacks(self) -> list[str]:
        """The templates in the order in which they are deployed, because later ones need outputs of earlier ones."""
        order = ["registry", "network", "database", "roles", "edge", "cluster", "migrate", "service", "alarms"]
        if application.read(APP).processes:
            order.insert(order.index("service") + 1, "processes")
        return [*order, "ci"] if self.github else order

    def stack_name(self, stack: str) -> str:
        return "-".join([variables.service(), *([] if stack == "registry" else [self.name]), stack])

    @property
    def limits(self) -> Limits:
        values = {
            "workers": defaults.WORKERS,
            "large_workers": defaults.LARGE_WORKERS,
            "reload_on_rss": defaults.RELOAD_ON_RSS,
        }
        return limits(**(values | self.sizing))

    def inputs(self) -> dict[str, str]:
        """What the file says, under the names of the templates' parameters."""
        values = {
            "Environment": self.name,
            "Domain": self.domain,
            "CertificateArn": self.certificate,
            "CloudFrontCertificateArn": self.cloudfront_certificate,
            "AppMemory": str(self.limits.hard_mb),
            "AppMemoryReservation": str(self.limits.soft_mb),
        }
        if self.github:
            values["GitHubRepository"] = self.github
        names = {
            "workers": "Workers",
            "large_workers": "LargeWorkers",
            "reload_on_rss": "ReloadOnRss",
            "large_need": "LargeNeedMb",
        }
        values |= {names[key]: str(value) for key, value in self.sizing.items() if key in names}
        return values | {key: str(value) for key, value in self.parameters.items()}


def _check_parameter(file: str, name: str, value: Any) -> None:
    """Check an entry of [parameters] against the rules in the templates, before the first of them is deployed.

    Raises:
        Refused: no template has it, it does not come from here, or its value is not one of those allowed.
    """
    rules: list[dict[str, Any]] = [
        template["Parameters"][name] for template in map(cfn.load, cfn.NAMES) if name in template.get("Parameters", {})
    ]
    if name in _SIZED:
        raise Refused(f"{file}: {name} follows from [sizing]: say it there.")
    own = {variables.parameter(*variable) for variable in variables.of_the_application().items()}
    if name not in own and not any("Default" in rule for rule in rules):
        raise Refused(f"{file}: [parameters] {name} is none that can be chosen; deploy/aws/templates has them.")
    text = str(value)
    for rule in rules:
        allowed = rule.get("AllowedValues")
        if allowed and text not in map(str, allowed):
            raise Refused(f"{file}: {name} = {text} must be one of {', '.join(map(str, allowed))}, in quotes.")
        if rule["Type"] == "Number" and not (
            re.fullmatch("[0-9]+", text) and rule.get("MinValue", 0) <= int(text) <= rule.get("MaxValue", float("inf"))
        ):
            most = f" and at most {rule['MaxValue']}" if "MaxValue" in rule else ""
            raise Refused(f"{file}: {name} = {text} must be a number of at least {rule.get('MinValue', 0)}{most}.")
        if "AllowedPattern" in rule and not re.fullmatch(rule["AllowedPattern"], text):
            raise Refused(f"{file}: {name} = {text} does not match {rule['AllowedPattern']}.")


def read(name: str, folder: Path = HERE / "environments") -> Environment:
    """The environment `name`.

    Raises:
        Refused: there is no such file, or something in it cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise Refused(f"ENV={name} cannot be a name: lower-case letters, digits and hyphens, 2 to 16 of them.")
    path = folder / f"{name}.toml"
    if not path.exists():
        raise Refused(f"{path} does not exist: copy example.toml there and fill it in.")
    try:
        values = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path.name}: {error}") from None
    wanted = {"account", "region", "domain", "certificate", "cloudfront_certificate"}
    known = wanted | {"github", "sizing", "parameters"}
    if missing := sorted(key for key in wanted if not values.get(key)):
        raise Refused(f"{path.name} does not say {', '.join(missing)}.")
    if unknown := sorted(values.keys() - known):
        raise Refused(f"{path.name}: {', '.join(unknown)} is no setting. There are: {', '.join(sorted(known))}.")
    if wrong := sorted(key for key in known - {"sizing", "parameters"} if not isinstance(values.get(key, ""), str)):
        raise Refused(f"{path.name}: {', '.join(wrong)} must be text, in quotes.")
    if wrong := sorted(key for key in ("sizing", "parameters") if not isinstance(values.get(key, {}), dict)):
        raise Refused(f"{path.name}: {', '.join(wrong)} must be a table: [{wrong[0]}] and its lines below.")
    if not re.fullmatch("[0-9]{12}", values["account"]) or values["account"] == "0" * 12:
        raise Refused(f"{path.name}: account = {values['account']} is no AWS account: it has twelve digits.")
    for key, region in (("certificate", values["region"]), ("cloudfront_certificate", "us-east-1")):
        match = _CERTIFICATE.fullmatch(values[key])
        if not match or match["region"] != region or match["account"] != values["account"]:
            raise Refused(
                f"{path.name}: {key} must be an ACM certificate of this account in {region}, not {values[key]}."
            )
    for key, value in values.get("sizing", {}).items():
        if key not in _SIZING:
            raise Refused(f"{path.name}: [sizing] has no {key}. There are: {', '.join(_SIZING)}.")
        if type(value) is not int or value < _SIZING[key]:
            raise Refused(f"{path.name}: {key} = {value!r} must be a whole number of at least {_SIZING[key]}.")
    for key, value in values.get("parameters", {}).items():
        _check_parameter(path.name, key, value)
    for key, variable in variables.of_the_application().items():
        wanted_secret = variables.parameter(key, variable)
        if variable.secret and not variable.generate and wanted_secret not in values.get("parameters", {}):
            raise Refused(
                f"{path.name} does not say where the secret {key} is: keep it in Secrets Manager, and write its ARN as "
                f"{wanted_secret} under [parameters]."
            )
    environment = Environment(name=name, **values)
    _ = environment.limits
    return environment
