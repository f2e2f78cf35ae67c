"""Where the memory of a deployment that is not on this machine is read from.

    for_source("cloudwatch:lowtide-production/lowtide-production@eu-central-1").read()

A source is written KIND:WHERE, and its figure is the memory of all tasks or pods of the application together, in MiB:

    cloudwatch:CLUSTER/SERVICE[@REGION]    Container Insights' MemoryUtilized, once a minute
    kubernetes:NAMESPACE/DEPLOYMENT        the metrics API through kubectl, every 15 s or so
    https://HOST/PATH#NAME                 a page in Prometheus' text format: the sum of the samples called NAME, bytes;
                                           it counts as PSS if NAME contains pss, else as a working set
"""

import json
import math
import re
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, Protocol
from urllib.parse import urldefrag, urlsplit

import requests

from lowtide.tools import page
from lowtide.tools.sizes import kubernetes_mb

MIB = 2**20
_TIMEOUT_S = 10
Kind = Literal["PSS", "working set"]


class Unreadable(Exception):
    """The memory cannot be read; the message says why and what to do."""


class Source(Protocol):
    """Where memory is read from.

    Attributes:
        kind: what the figures are.
        every_s: how often to look.
        settle_s: how long a phase must be, so that the newest figures at its end were taken within it.
    """

    @property
    def kind(self) -> Kind: ...
    @property
    def every_s(self) -> float: ...
    @property
    def settle_s(self) -> float: ...
    def read(self) -> tuple[float, float]:
        """Unix time up to which the figure counts, and the memory of all tasks or pods, MiB. Raises Unreadable."""
        ...


_PERIOD_S = 60


@dataclass(frozen=True)
class CloudWatch:
    """Container Insights of an ECS service."""

    cluster: str
    service: str
    region: str | None = None
    kind: ClassVar[Kind] = "working set"
    every_s: ClassVar[float] = 20
    # A minute's figure comes up to three minutes late.
    settle_s: ClassVar[float] = 300

    def read(self) -> tuple[float, float]:
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        now = datetime.now(UTC)
        try:
            answer = boto3.client("cloudwatch", region_name=self.region).get_metric_statistics(
                Namespace="ECS/ContainerInsights",
                MetricName="MemoryUtilized",
                Dimensions=[
                    {"Name": "ClusterName", "Value": self.cluster},
                    {"Name": "ServiceName", "Value": self.service},
                ],
                # Figures arrive some minutes late, so ten minutes are asked for and the newest figure among them
                # counts.
                StartTime=now - timedelta(minutes=10),
                EndTime=now,
                Period=_PERIOD_S,
                Statistics=["Sum"],
            )
        except (BotoCoreError, ClientError) as error:
            raise Unreadable(f"CloudWatch: {error}") from None
        if not answer["Datapoints"]:
            raise Unreadable(
                f"CloudWatch has no MemoryUtilized of {self.cluster}/{self.service} in the last ten minutes: "
                "is the name right, and are Container Insights on?"
            )
        newest = max(answer["Datapoints"], key=lambda point: point["Timestamp"])
        # CloudWatch names a minute by its first second; the figure is about the whole minute.
        return newest["Timestamp"].timestamp() + _PERIOD_S, float(newest["Sum"])


@dataclass(frozen=True)
class Kubernetes:
    """The pods labelled app.kubernetes.io/name=NAME; of each pod only the container `app` counts."""

    namespace: str
    name: str
    kubectl: tuple[str, ...] = ("kubectl",)
    kind: ClassVar[Kind] = "working set"
    every_s: ClassVar[float] = 5
    # metrics-server looks every 15 s and averages over as much.
    settle_s: ClassVar[float] = 60

    def read(self) -> tuple[float, float]:
        path = (
            f"/apis/metrics.k8s.io/v1beta1/namespaces/{self.namespace}/pods"
            f"?labelSelector=app.kubernetes.io%2Fname%3D{self.name}"
        )
        try:
            done = subprocess.run(
                [*self.kubectl, "get", "--raw", path], capture_output=True, text=True, timeout=_TIMEOUT_S
            )
        except FileNotFoundError:
            raise Unreadable("There is no kubectl on this machine.") from None
        except subprocess.TimeoutExpired:
            raise Unreadable(f"kubectl did not answer within {_TIMEOUT_S} s.") from None
        if done.returncode:
            raise Unreadable(f"kubectl: {done.stderr.strip()}")
        try:
            pods = json.loads(done.stdout)["items"]
            containers = [container for pod in pods for container in pod["containers"] if container["name"] == "app"]
            total = sum(kubernetes_mb(container["usage"]["memory"]) for container in containers)
        except (ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"The metrics API answered something else than pods' metrics: {error}") from None
        if not containers:
            raise Unreadable(
                f"There is no pod of {self.name} with metrics in {self.namespace}. Is metrics-server running?"
            )
        return time.time(), total


@dataclass(frozen=True)
class Page:
    """A page of metrics in Prometheus' text format; the sum of the samples called `name`, which are bytes."""

    url: str
    name: str
    every_s: ClassVar[float] = 0.5
    settle_s: ClassVar[float] = 3

    @property
    def kind(self) -> Kind:
        return "PSS" if "pss" in self.name else "working set"

    def read(self) -> tuple[float, float]:
        try:
            answer = requests.get(self.url, timeout=_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException as error:
            raise Unreadable(f"{self.url}: {error}") from None
        try:
            values = [sample.value for sample in page.samples(answer.text) if sample.name == self.name]
        except page.NoPage as problem:
            raise Unreadable(f"{self.url}: {problem}") from None
        if not values:
            raise Unreadable(f"{self.url} has no sample called {self.name}.")
        total = sum(values)
        if not math.isfinite(total):
            raise Unreadable(f"{self.url}: {self.name} is {total}.")
        return time.time(), total / MIB


def for_source(text: str) -> Source:
    """The source that `text` names (this module's documentation lists the forms).

    Raises:
        Unreadable: it is none of them.
    """
    if match := re.fullmatch(r"cloudwatch:([\w-]+)/([\w-]+)(?:@([a-z0-9-]+))?", text):
        return CloudWatch(match[1], match[2], match[3])
    if match := re.fullmatch(r"kubernetes:([a-z0-9-]+)/([a-z0-9-]+)", text):
        return Kubernetes(match[1], match[2])
    url, name = urldefrag(text)
    if "@" in urlsplit(url).netloc:
        raise Unreadable("MEMORY_FROM has a user or a password in it, which would be printed: ~/.netrc can hold it.")
    if urlsplit(url).scheme in ("http", "https") and name:
        return Page(url, name)
    raise Unreadable(
        f"{text} is no source of memory: write cloudwatch:CLUSTER/SERVICE@REGION, kubernetes:NAMESPACE/NAME, "
        "or the address of a page of metrics with #NAME behind it."
    )
