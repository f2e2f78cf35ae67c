"""Properties of the built manifests. Each is also tested on a manifest that was changed so that it must not hold."""

import base64
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import TOOLS, tool
from tests.described import APPLICATION, VARIABLES
from tests.machine import CHECKOUT

SECRET = [name for name, variable in APPLICATION.variables.items() if variable.secret]

Objects = list[dict[str, Any]]
Property = Callable[[Objects], Iterator[str]]


def one(objects: Objects, kind: str, name: str | None = None) -> dict[str, Any]:
    (match,) = [
        manifest for manifest in objects if manifest["kind"] == kind and name in (None, manifest["metadata"]["name"])
    ]
    return match


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for manifest in objects:
        if manifest["kind"] in ("Deployment", "Job"):
            yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]


def containers(objects: Objects) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, pod in pods(objects):
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            yield f"{name}.{container['name']}", pod, container


def site(objects: Objects) -> dict[str, Any]:
    pod: dict[str, Any] = one(objects, "Deployment")["spec"]["template"]["spec"]
    return pod


def restricted(objects: Objects) -> Iterator[str]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    if one(objects, "Namespace")["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace enforces nothing"
    for name, pod, container in containers(objects):
        whole, own = pod.get("securityContext", {}), container.get("securityContext", {})
        if not whole.get("runAsNonRoot") or not (own.get("runAsUser") or whole.get("runAsUser")):
            yield f"{name} may run as root"
        if whole.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} may call anything of the kernel"
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"{name} keeps privileges"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{name} can write to its image"
        if pod.get("automountServiceAccountToken") is not False:
            yield f"{name} has a token for Kubernetes"
    for name, pod in pods(objects):
        if any({"hostPath", "hostNetwork"} & volume.keys() for volume in pod.get("volumes", [])):
            yield f"{name} reaches its node"


def limited(objects: Objects) -> Iterator[str]:
    for name, _, container in containers(objects):
        resources = container.get("resources", {})
        if not {"memory", "cpu"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            yield f"{name} lacks requests or a limit"


def socket_shared(objects: Objects) -> Iterator[str]:
    pod = site(objects)
    if "emptyDir" not in {volume["name"]: volume for volume in pod["volumes"]}["run"]:
        yield "the socket's volume is not the pod's own"
    if pod["securityContext"].get("fsGroup") != 10001:
        yield "the application cannot make its socket"
    for name, container in (("app", pod["initContainers"][0]), ("nginx", pod["containers"][-1])):
        if {"name": "run", "mountPath": "/run/lowtide"} not in container["volumeMounts"]:
            yield f"{name} does not share the socket"


def drains(objects: Objects) -> Iterator[str]:
    pod = site(objects)
    app, nginx = pod["initContainers"][0], pod["containers"][-1]
    if app.get("restartPolicy") != "Always":
        yield "the application is stopped beside nginx, not after it"
    wait = int(nginx.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])[1])
    if wait < 5:
        yield "nginx stops while requests are still sent to it"
    harakiri = int(re.search(r"^harakiri = (\d+)$", (CHECKOUT / "uwsgi.ini").read_text(), re.MULTILINE)[1])  # type: ignore[index]
    if pod["terminationGracePeriodSeconds"] < wait + 60 + harakiri:
        yield "the slowest request is killed with its pod"


def probed(objects: Objects) -> Iterator[str]:
    pod = site(objects)
    app, nginx = pod["initContainers"][0], pod["containers"][-1]
    if "/healthz" not in str(app.get("livenessProbe")) or "/readyz" in str(app.get("livenessProbe")):
        yield "the application is killed for its database, or never"
    if "startupProbe" not in app:
        yield "nginx starts before the application answers"
    if nginx.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
        yield "a pod that cannot serve gets requests"


def selected(objects: Objects) -> Iterator[str]:
    """Everything that selects pods by labels finds the site's pods, and not those of the migration."""
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    migration = one(objects, "Job")["spec"]["template"]["metadata"]["labels"]
    selectors = {
        "service": one(objects, "Service")["spec"]["selector"],
        "disruption budget": one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "network policy": one(objects, "NetworkPolicy", "site")["spec"]["podSelector"]["matchLabels"],
    }
    for name, selector in selectors.items():
        if not selector.items() <= labels.items():
            yield f"the {name} misses the site's pods"
        if selector.items() <= migration.items():
            yield f"the {name} takes the migration for the site"
    names = {port["name"] for container in site(objects)["containers"] for port in container["ports"]}
    for port in one(objects, "Service")["spec"]["ports"]:
        if port["targetPort"] not in names:
            yield f"the service's port {port['name']} leads nowhere"


def one_namespace(objects: Objects) -> Iterator[str]:
    for manifest in objects:
        if manifest["kind"] != "Namespace" and manifest["metadata"].get("namespace") != "lowtide":
            yield f"{manifest['kind']} {manifest['metadata']['name']} lands elsewhere"


def closed(objects: Objects) -> Iterator[str]:
    policies = {
        manifest["metadata"]["name"]: manifest["spec"] for manifest in objects if manifest["kind"] == "NetworkPolicy"
    }
    deny = policies.get("deny", {})
    if deny.get("podSelector") != {} or set(deny.get("policyTypes", [])) != {"Ingress", "Egress"}:
        yield "what no policy names is open"
    for rule in policies["site"]["ingress"]:
        if not rule.get("from"):
            yield "everybody reaches the site's pods"


def scales(objects: Objects) -> Iterator[str]:
    scaler = one(objects, "HorizontalPodAutoscaler")["spec"]
    if scaler["scaleTargetRef"]["name"] != one(objects, "Deployment")["metadata"]["name"]:
        yield "the autoscaler scales nothing"
    if "memory" not in {metric["containerResource"]["name"] for metric in scaler["metrics"]}:
        yield "pods do not scale on memory"
    if {metric["containerResource"]["container"] for metric in scaler["metrics"]} != {"app"}:
        yield "pods scale on something else than the application"
    if "replicas" in one(objects, "Deployment")["spec"]:
        yield "a rollout resets the number of pods"


def monitored(objects: Objects) -> Iterator[str]:
    monitor, service = one(objects, "ServiceMonitor")["spec"], one(objects, "Service")
    if not monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items():
        yield "the monitor finds no service"
    if monitor["endpoints"][0]["port"] not in {port["name"] for port in service["spec"]["ports"]}:
        yield "the monitor asks a port that the service does not have"
    everywhere = "0.0.0.0"  # noqa: S104
    if {"name": "METRICS_BIND", "value": everywhere} not in site(objects)["containers"][0].get("env", []):
        yield "no other pod reaches the metrics"
    if not site(objects).get("shareProcessNamespace"):
        yield "the metrics' container sees no process of the application"


def at(*path: Any, to: Any = None) -> Callable[[dict[str, Any]], None]:
    """Set the value at a path of an object, or remove it."""

    def change(place: Any) -> None:
        for key in path[:-1]:
            place = place[key]
        if to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


POD = ("spec", "template", "spec")
# In the site nginx is the last container, after those that a component adds. A Job has a single container.
APP, NGINX = (*POD, "initContainers", 0), (*POD, "containers", -1)
MUTATIONS: list[tuple[Property, str, str | None, Callable[[dict[str, Any]], None]]] = [
    (restricted, "Namespace", None, at("metadata", "labels", "pod-security.kubernetes.io/enforce")),
    (restricted, "Deployment", None, at(*POD, "securityContext", "runAsNonRoot")),
    (restricted, "Deployment", None, at(*POD, "securityContext", "seccompProfile")),
    (restricted, "Job", None, at(*NGINX, "securityContext", "readOnlyRootFilesystem")),
    (restricted, "Job", None, at(*NGINX, "securityContext", "capabilities", to={"drop": ["NET_RAW"]})),
    (restricted, "Deployment", None, at(*POD, "automountServiceAccountToken")),
    (limited, "Deployment", None, at(*APP, "resources", "limits")),
    (socket_shared, "Deployment", None, at(*POD, "securityContext", "fsGroup")),
    (socket_shared, "Deployment", None, at(*NGINX, "volumeMounts", to=[])),
    (drains, "Deployment", None, at(*APP, "restartPolicy")),
    (drains, "Deployment", None, at(*NGINX, "lifecycle")),
    (drains, "Deployment", None, at(*POD, "terminationGracePeriodSeconds", to=30)),
    (probed, "Deployment", None, at(*APP, "livenessProbe", "exec", "command", 3, to="/readyz")),
    (probed, "Deployment", None, at(*APP, "startupProbe")),
    (probed, "Deployment", None, at(*NGINX, "readinessProbe", "httpGet", "path", to="/healthz")),
    (selected, "Service", None, at("spec", "selector", to={"app": "lowtide"})),
    (selected, "PodDisruptionBudget", None, at("spec", "selector", "matchLabels", "app.kubernetes.io/component")),
    (selected, "Service", None, at("spec", "ports", 0, "targetPort", to="web")),
    (one_namespace, "Ingress", None, at("metadata", "namespace")),
    (closed, "NetworkPolicy", "deny", at("spec", "policyTypes", to=["Ingress"])),
    (closed, "NetworkPolicy", "site", at("spec", "ingress", 0, "from")),
    (scales, "HorizontalPodAutoscaler", None, at("spec", "scaleTargetRef", "name", to="other")),
    (scales, "HorizontalPodAutoscaler", None, at("spec", "metrics", 0)),
    (scales, "Deployment", None, at("spec", "replicas", to=2)),
    (monitored, "ServiceMonitor", None, at("spec", "endpoints", 0, "port", to="http-metrics")),
    (monitored, "Deployment", None, at(*POD, "shareProcessNamespace")),
    (monitored, "Deployment", None, at(*POD, "containers", 0, "env")),
]
PROPERTIES = list(dict.fromkeys(row[0] for row in MUTATIONS))
EVERYWHERE = [prop for prop in PROPERTIES if prop not in (scales, monitored)]


@pytest.mark.parametrize("prop", PROPERTIES, ids=lambda prop: prop.__name__)
def test_production(prop: Property, manifests: dict[str, Objects]) -> None:
    assert list(prop(manifests["overlays/production"])) == []


@pytest.mark.parametrize("prop", EVERYWHERE, ids=lambda prop: prop.__name__)
def test_small(prop: Property, manifests: dict[str, Objects]) -> None:
    assert list(prop(manifests["overlays/small"])) == []


def test_an_overlay_may_have_the_applications_processes(tmp_path: Path) -> None:
    """It names the component. Rolling updates would run two schedulers for a moment."""
    here = os.path.relpath(CHECKOUT / "deploy/kubernetes", tmp_path.resolve())
    overlay = {"resources": [f"{here}/overlays/small"], "components": [f"{here}/components/processes"]}
    (tmp_path / "kustomization.yml").write_text(yaml.safe_dump(overlay))
    objects = list(yaml.safe_load_all(tool("kubectl", "kustomize", str(tmp_path), check=True).stdout))
    assert [*restricted(objects), *limited(objects)] == []
    processes = one(objects, "Deployment", "processes")["spec"]
    assert (processes["replicas"], processes["strategy"]) == (1, {"type": "Recreate"})
    assert processes["template"]["spec"]["containers"][0]["command"] == ["python", "-m", "lowtide.processes"]


@pytest.mark.parametrize("prop", [restricted, limited], ids=lambda prop: prop.__name__)
def test_loadtest(prop: Property, manifests: dict[str, Objects]) -> None:
    assert list(prop(manifests["loadtest"])) == []


@pytest.mark.parametrize(
    ("prop", "kind", "name", "change"), MUTATIONS, ids=[f"{row[0].__name__}-{n}" for n, row in enumerate(MUTATIONS)]
)
def test_property_notices_its_mutation(
    prop: Property,
    kind: str,
    name: str | None,
    change: Callable[[dict[str, Any]], None],
    manifests: dict[str, Objects],
) -> None:
    objects = manifests["overlays/production"]
    change(one(objects, kind, name))
    assert list(prop(objects)) != []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["deploy"], "say which overlay"),
        (["deploy", "nowhere"], "there is no overlay nowhere, only: production small"),
        (["deploy", "small", "--force"], "--force is no option"),
        (["deploy", "small"], "names no images yet"),
        (["loadtest/run"], "say which site"),
        (["loadtest/run", "https://shop.example.com"], "add --i-own-this-host"),
        (["loadtest/run", "https://shop.example.com", "--i-own-this-host"], "names no image yet"),
    ],
)
def test_refused_before_a_cluster_is_asked(words: list[str], reason: str) -> None:
    done = subprocess.run(
        [str(CHECKOUT / "deploy/kubernetes" / words[0]), *words[1:]],
        env={"PATH": f"{CHECKOUT}/.venv-deploy/bin:/usr/bin:/bin", "KUBECONFIG": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert reason in done.stderr


# Writes down its arguments and its input, and answers as its variables say. Manifests and secrets are built by the real
# kubectl.
KUBECTL = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
    kustomize*) "$REAL" "$@" | sed 's/replace-me/tested/; s/registry.example.com/registry.test/' ;;
    *"create secret"*) "$REAL" "$@" ;;
    *"apply --filename -"*) { echo ---; cat; } >>"$APPLIED" ;;
    *apply*) { echo ---; cat "${@: -1}"; } >>"$APPLIED" ;;
    version*) exit "${VERSION:-0}" ;;
    *"get secret lowtide-migrate"*) exit "${OWNER:-0}" ;;
    *"get secret"*) echo "$KEYS"; exit "${SECRET:-0}" ;;
    diff*) exit "${DIFF:-1}" ;;
    *"get job"*) echo "${MIGRATION:-SuccessCriteriaMet Complete}" ;;
    *"rollout status"*) exit "${ROLLOUT:-0}" ;;
    *"wait --for=jsonpath"*) exit "${READY:-0}" ;;
    *"wait --for=condition=complete"*) exit "${LOCUST:-0}" ;;
    *) exit 0 ;;
esac
"""


class Cluster:
    """The scripts of deploy/kubernetes, run against a kubectl that only writes down what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.calls_path, self.applied_path = folder / "calls", folder / "applied"
        program = folder / "kubectl"
        program.write_text(KUBECTL)
        program.chmod(0o755)
        self.environment = {
            "PATH": f"{folder}:/usr/bin:/bin",
            "REAL": str(TOOLS / "kubectl"),
            "CALLS": str(self.calls_path),
            "APPLIED": str(self.applied_path),
            "KEYS": f"DATABASE_URL SECRET_KEY {' '.join(VARIABLES)} ",
        }

    def run(self, *words: str, answer: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(CHECKOUT / "deploy/kubernetes" / words[0]), *words[1:]],
            env=self.environment | settings,
            input=answer,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def changes(self) -> list[str]:
        """Calls that change a cluster, without the names of files."""
        verbs = "apply|delete|undo"
        calls = [re.sub(r" --filename \S+", "", call) for call in self.calls_path.read_text().splitlines()]
        return [call for call in calls if re.search(rf"(^| )({verbs})( |$)", call)]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


MIGRATE = "apply --selector app.kubernetes.io/component=migrate"
SITE = "apply --selector app.kubernetes.io/component!=migrate"


def test_the_site_follows_its_migration(cluster: Cluster) -> None:
    done = cluster.run("deploy", "small", answer="small\n")
    assert done.returncode == 0, done.stderr
    job, *applied = cluster.changes()
    assert job == "--namespace lowtide delete job lowtide-migrate --ignore-not-found"
    assert applied == [MIGRATE, "apply --selector app.kubernetes.io/component=network", SITE]


def test_plan_changes_nothing(cluster: Cluster) -> None:
    done = cluster.run("deploy", "production", "--plan")
    assert (done.returncode, done.stdout) == (0, "Nothing was changed.\n")
    assert cluster.changes() == []


@pytest.mark.parametrize(
    ("answer", "settings", "reason"),
    [
        ("yes\n", {}, "not confirmed"),
        ("small\n", {"DIFF": "2"}, "the cluster does not accept these manifests"),
        ("small\n", {"SECRET": "1"}, "there is no secret lowtide in"),
        ("small\n", {"OWNER": "1"}, "there is no secret lowtide-migrate"),
        ("small\n", {"VERSION": "1"}, "no cluster answers"),
        *[("small\n", {"KEYS": "SECRET_KEY "}, f"the secret lowtide has no {name}") for name in SECRET[:1]],
    ],
)
def test_refused_before_the_cluster_is_changed(
    answer: str, settings: dict[str, str], reason: str, cluster: Cluster
) -> None:
    done = cluster.run("deploy", "small", answer=answer, **settings)
    assert done.returncode == 2
    assert reason in done.stderr
    assert cluster.changes() == []


def test_the_site_stays_when_its_migration_fails(cluster: Cluster) -> None:
    done = cluster.run("deploy", "small", "--yes", MIGRATION="FailureTarget Failed")
    assert done.returncode == 1
    assert "The site runs on as it was." in done.stderr
    assert MIGRATE in cluster.changes()
    assert SITE not in cluster.changes()


def test_pods_that_do_not_become_ready_are_rolled_back(cluster: Cluster) -> None:
    done = cluster.run("deploy", "small", "--yes", ROLLOUT="1")
    assert done.returncode == 1
    assert cluster.changes()[-1] == "--namespace lowtide rollout undo deployment/lowtide"


LOAD = ("loadtest/run", "https://shop.test", "--i-own-this-host")


@pytest.mark.parametrize(("settings", "code"), [({}, 0), ({"LOCUST": "1"}, 1), ({"READY": "1"}, 1)])
def test_load_leaves_nothing_behind(settings: dict[str, str], code: int, cluster: Cluster) -> None:
    done = cluster.run(*LOAD, **settings)
    assert done.returncode == code, done.stderr
    assert "HOST: https://shop.test\n" in cluster.applied_path.read_text()
    assert cluster.changes()[-1] == "delete --ignore-not-found --wait=false"


def test_the_variables_reach_locust_and_no_command_line(cluster: Cluster) -> None:
    if not VARIABLES:
        pytest.skip("app/lowtide.toml has no variables")
    values = {name: f"{name}-of-the=test" for name in VARIABLES}
    done = cluster.run(*LOAD, **values)
    assert done.returncode == 0, done.stderr
    applied = list(yaml.safe_load_all(cluster.applied_path.read_text()))
    (secret,) = [manifest for manifest in applied if manifest["kind"] == "Secret"]
    assert {name: base64.b64decode(value).decode() for name, value in secret["data"].items()} == values
    jobs = [manifest["spec"]["template"]["spec"]["containers"][0] for manifest in applied if manifest["kind"] == "Job"]
    assert len(jobs) == 2
    for job in jobs:
        names = [source["secretRef"]["name"] for source in job["envFrom"] if "secretRef" in source]
        assert names == [secret["metadata"]["name"]]
    assert "of-the=test" not in cluster.calls_path.read_text() + done.stdout + done.stderr
