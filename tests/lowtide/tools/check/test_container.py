"""Limits from Compose files, Kubernetes manifests, ECS task definitions and CloudFormation templates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lowtide.tools.check.container import parse_duration, read_container
from lowtide.tools.check.files import UnreadableError

COMPOSE = """
x-base: &base
  stop_grace_period: 1m15s
services:
  app:
    <<: *base
    mem_limit: ${APP_MEMORY:-512m}
    stop_signal: SIGQUIT
    sysctls: {net.core.somaxconn: 1024}
    environment: {WORKERS: "${WORKERS:-4}", EMPTY: }
  other:
    deploy: {resources: {limits: {memory: 1g}}}
    sysctls: [net.core.somaxconn=64]
    environment: [A=1=$ONE, PASSED_THROUGH]
  bare:
"""
KUBERNETES = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 90
      securityContext: {sysctls: [{name: net.core.somaxconn, value: "2048"}]}
      containers:
        - name: app
          resources: {limits: {memory: 768Mi}}
          env: [{name: WORKERS, value: "3"}, {name: SECRET, valueFrom: {}}]
"""
ECS = {
    "family": "web",
    "memory": "2048",
    "containerDefinitions": [
        {
            "name": "app",
            "memory": 512,
            "stopTimeout": 75,
            "environment": [{"name": "WORKERS", "value": "2"}],
            "systemControls": [{"namespace": "net.core.somaxconn", "value": "512"}],
        },
        {"name": "proxy"},
    ],
}
CLOUDFORMATION = """
Parameters:
  Workers: {Type: Number, Default: 6}
  Key: {Type: String}
Resources:
  Bucket: {Type: AWS::S3::Bucket}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Memory: !Ref TaskMemory
      ContainerDefinitions:
        - Name: app
          Memory: 640
          StopTimeout: 60
          Environment: [{Name: WORKERS, Value: !Ref Workers}, {Name: KEY, Value: !Ref Key}, {Name: URL, Value: !Sub x}]
"""


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_compose(tmp_path: Path) -> None:
    path = write(tmp_path / "docker-compose.yml", COMPOSE)
    app = read_container(path, "app", {})
    assert (app.memory, app.stop_grace, app.stop_signal, app.somaxconn) == (512, 75, "SIGQUIT", 1024)
    assert app.environment == {"WORKERS": "4"}
    assert read_container(path, "app", {"APP_MEMORY": "2g", "WORKERS": "9"}).memory == 2048
    other = read_container(path, "other", {"ONE": "x"})
    assert (other.memory, other.stop_grace, other.somaxconn, other.environment) == (1024, 10, 64, {"A": "1=x"})
    bare = read_container(path, "bare", {})
    assert (bare.memory, bare.stop_grace) == (None, 10)


def test_compose_reads_its_env_files(tmp_path: Path) -> None:
    path = write(
        tmp_path / "compose.yml", "services: {app: {mem_limit: '${M:-1g}', env_file: [a.env, none.env, b.env]}}"
    )
    write(tmp_path / "a.env", "WORKERS=2\nKEY='x\nsecond line\n")
    write(tmp_path / "b.env", "# none\nWORKERS=3\n")
    write(tmp_path / ".env", "M=256m\n")
    app = read_container(path, None, {})
    # Compose uses .env for ${...} in the file; the container does not get its variables.
    assert (app.memory, app.environment) == (256, {"WORKERS": "3"})
    assert read_container(path, None, {"M": "512m"}).memory == 512
    assert read_container(path, None, {}, dot_env=False).memory == 1024
    write(path, "services: {app: {env_file: {path: a.env}, environment: {WORKERS: 9}}}")
    assert read_container(path, None, {}).environment["WORKERS"] == "9"


def test_this_repository_s_compose_file() -> None:
    app = read_container(Path(__file__).parents[4] / "docker-compose.yml", "app", {"APP_MEMORY": "768m"})
    assert app.memory == 768
    assert "WORKERS" in app.environment


@pytest.mark.parametrize("name", ["deploy/kubernetes/base/site.yml", "deploy/aws/templates/service.yml"])
def test_this_repository_s_deployments_name_the_application_s_memory(name: str) -> None:
    app = read_container(Path(__file__).parents[4] / name, "app", {})
    assert app.memory is not None
    assert app.memory > 500


def test_kubernetes(tmp_path: Path) -> None:
    app = read_container(write(tmp_path / "web.yaml", KUBERNETES), None, {})
    assert (app.memory, app.stop_grace, app.somaxconn, app.environment) == (768, 90, 2048, {"WORKERS": "3"})


def test_kubernetes_units_and_defaults(tmp_path: Path) -> None:
    for quantity, mib in [("1Gi", 1024), ("1G", 1e9 / 2**20), ("1048576", 1), ("1048576k", 1000)]:
        text = f"kind: Pod\nspec: {{containers: [{{name: a, resources: {{limits: {{memory: {quantity}}}}}}}]}}"
        app = read_container(write(tmp_path / "pod.yaml", text), "a", {})
        assert (app.memory, app.stop_grace) == (mib, 30)


def test_kubernetes_sidecars_and_config_maps(tmp_path: Path) -> None:
    text = """
kind: List
items:
  - {kind: ConfigMap, metadata: {name: settings}, data: {WORKERS: "3", LISTEN: "64", STAGE: test}}
  - kind: Pod
    spec:
      initContainers:
        - {name: migrate}
        - name: app
          restartPolicy: Always
          resources: {limits: {memory: 688Mi}}
          envFrom: [{configMapRef: {name: settings}}, {configMapRef: {name: elsewhere}}, {secretRef: {name: secret}}]
          env:
            - {name: LISTEN, value: "128"}
            - {name: SITE, valueFrom: {configMapKeyRef: {name: settings, key: STAGE}}}
            - {name: KEY, valueFrom: {secretKeyRef: {name: secret, key: KEY}}}
      containers: [{name: nginx, resources: {limits: {memory: 256Mi}}}]
"""
    path = write(tmp_path / "site.yml", text)
    app = read_container(path, "app", {})
    assert app.memory == 688
    assert app.environment == {"WORKERS": "3", "LISTEN": "128", "STAGE": "test", "SITE": "test"}
    with pytest.raises(UnreadableError, match="choose with --service: app, nginx"):
        read_container(path, None, {})


def test_ecs(tmp_path: Path) -> None:
    path = write(tmp_path / "task.json", json.dumps(ECS))
    app = read_container(path, "app", {})
    assert (app.memory, app.stop_grace, app.somaxconn, app.environment) == (512, 75, 512, {"WORKERS": "2"})
    proxy = read_container(path, "proxy", {})
    assert (proxy.memory, proxy.stop_grace) == (2048, 30)


def test_cloudformation(tmp_path: Path) -> None:
    app = read_container(write(tmp_path / "stack.yaml", CLOUDFORMATION), None, {})
    assert (app.memory, app.stop_grace, app.environment) == (640, 60, {"WORKERS": "6"})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yml", COMPOSE, "choose with --service: app, bare, other"),
        ("a.yml", "a: [", "no valid YAML"),
        ("a.yml", "a: b", "no Compose service"),
        ("a.yml", "just text", "no Compose service"),
        ("a.yml", "services: {app: {mem_limit: lots}}", "'lots' is no amount"),
        ("a.yml", "services: {app: [1]}", "not understood"),
        ("a.yml", "services: {app: &a {labels: *a}}", "not understood: maximum recursion"),
        ("a.json", "{", "no valid JSON"),
        pytest.param("a.json", "[" * 100_000, "no valid JSON", id="deep JSON"),
        pytest.param("a.yml", "[" * 5_000, "no valid YAML", id="deep YAML"),
    ],
)
def test_odd_files_are_refused_in_one_line(name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_container(write(tmp_path / name, text), None, {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_pyyaml_it_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "yaml.py", "raise ImportError")
    path = write(tmp_path / "compose.yml", COMPOSE)
    write(tmp_path / "uwsgi.ini", "[uwsgi]\nmaster = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "lowtide", "check", "--container", str(path)],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[4]}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install pyyaml" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("text", "seconds"), [("10", 10), ("90s", 90), ("1m30s", 90), ("1h", 3600), ("500ms", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "much", "1x", "1i", "-1g", "1 g g"])
def test_odd_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_duration(text)
