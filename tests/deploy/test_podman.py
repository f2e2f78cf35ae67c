"""Podman starts the manifests. It reads a part of what Kubernetes reads: docs/kubernetes.md says which."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import yaml

from lowtide import memory
from tests import described
from tests.deploy.test_kubernetes import Objects, one
from tests.machine import CHECKOUT, free_port
from tests.stack.edge import wait_until

pytestmark = [pytest.mark.night, pytest.mark.container, pytest.mark.timeout(900)]
IMAGES = {"app": f"{described.NAME}-app", "nginx": f"{described.NAME}-nginx"}
POSTGRES = "postgres:17"
# As root of a virtual machine Podman may not raise its own limits. runc starts on the mixed cgroups of some hosts, crun
# does not.
SETTINGS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
"""
Podman = Callable[..., str]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Runs podman on a storage of its own, with the images that Docker builds from this checkout."""
    for program in ("podman", "docker", "runc"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}. On Debian: apt-get install podman catatonit docker.io")
    folder = Path(tempfile.mkdtemp(prefix="podman-"))
    (folder / "containers.conf").write_text(SETTINGS)
    environment = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
    places = {"root": "storage", "runroot": "run", "tmpdir": "libpod", "network-config-dir": "networks"}
    own = ["podman", *(f"--{option}={folder / name}" for option, name in places.items())]

    def run(*words: str, text: str | None = None) -> str:
        done = subprocess.run(words, cwd=CHECKOUT, env=environment, input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-3000:]}"
        return done.stdout.strip()

    try:
        for target, image in IMAGES.items():
            run("docker", "build", "--quiet", "--target", target, "--tag", image, ".")
        run("docker", "save", "--output", str(folder / "images.tar"), *IMAGES.values(), POSTGRES)
        run(*own, "load", "--quiet", "--input", str(folder / "images.tar"))
        yield lambda *words, text=None: run(*own, *words, text=text)
    finally:
        for kind in ("pod", "container", "network"):
            names = run(*own, kind, "ls", "--quiet", *(["--all"] if kind == "container" else [])).split()
            run(*own, kind, "rm", "--force", *[name for name in names if name != "podman"])
        shutil.rmtree(folder)


def readable(objects: Objects, port: int) -> tuple[str, str]:
    """What migrates and what serves, as Podman 4.3 reads it.

    It has no Job and no sidecar: an init container must end before the next container begins. It publishes the ports of
    a pod on the machine.
    """
    settings, job, site = one(objects, "ConfigMap"), one(objects, "Job"), one(objects, "Deployment")
    migrating, serving = (kind["spec"]["template"]["spec"] for kind in (job, site))
    serving["containers"] = [*serving.pop("initContainers"), *serving["containers"]]
    for container in migrating["containers"] + serving["containers"]:
        container.pop("restartPolicy", None)
        container["image"] = f"localhost/{IMAGES['nginx' if container['name'] == 'nginx' else 'app']}:latest"
        for published in container.get("ports", []):
            published |= {"hostIP": "127.0.0.1", "hostPort": port}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "migrate"}, "spec": migrating}
    return yaml.safe_dump_all([settings, pod]), yaml.safe_dump_all([settings, site])


def start_database(podman: Podman) -> str:
    """Start PostgreSQL; its address."""
    given = ("--env=POSTGRES_PASSWORD=planted", "--env=POSTGRES_DB=site")
    podman("run", "--detach", "--name", "db", "--no-healthcheck", "--network", "site", *given, POSTGRES)
    ready = "until pg_isready --quiet --host 127.0.0.1; do sleep 0.2; done"
    podman("exec", "db", "timeout", "60", "sh", "-c", ready)
    (database,) = json.loads(podman("inspect", "db"))
    return f"{database['NetworkSettings']['Networks']['site']['IPAddress']}:5432/site"


def test_podman_starts_the_site(podman: Podman, manifests: dict[str, Objects]) -> None:
    objects, port = manifests["overlays/small"], free_port()
    migrating, serving = readable(objects, port)

    def secret(name: str, **values: str) -> None:
        coded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        podman("secret", "create", name, "-", text=json.dumps(coded))

    podman("network", "create", "site")
    address = start_database(podman)
    own = {"SECRET_KEY": "of-the-test-" * 5, "DATABASE_URL": f"postgres://site_app:planted@{address}"}
    own |= {"ALLOWED_HOSTS": "127.0.0.1", "CSRF_TRUSTED_ORIGINS": "https://127.0.0.1"}
    secret(described.NAME, **own, **described.VARIABLES)
    secret(f"{described.NAME}-migrate", DATABASE_URL=f"postgres://postgres:planted@{address}")

    podman("kube", "play", "--network", "site", "-", text=migrating)
    assert podman("wait", "migrate-migrate") == "0", podman("logs", "migrate-migrate")
    podman("kube", "play", "--network", "site", "-", text=serving)

    def status(path: str) -> int:
        try:
            return requests.get(f"http://127.0.0.1:{port}{path}", allow_redirects=False, timeout=60).status_code
        except requests.ConnectionError:
            return 0

    # It asks the database through the role that the migration has made.
    wait_until("the site is ready", lambda: status("/readyz") == 200, 60)
    # The overlay serves HTTPS, and a request that comes from no proxy is led there.
    assert status(described.PAGE) == 301
    for container in one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]:
        name = f"{described.NAME}-pod-0-{container['name']}"
        (started,) = json.loads(podman("inspect", name))
        limit = container["resources"]["limits"]["memory"]
        assert started["HostConfig"]["Memory"] == int(limit.removesuffix("Mi")) * memory.MIB
        assert started["HostConfig"]["ReadonlyRootfs"]
        lines = podman("exec", name, "cat", "/proc/1/status").splitlines()
        process = {key: value.split() for key, value in (line.split(":", 1) for line in lines)}
        wanted = str(container["securityContext"]["runAsUser"])
        assert (set(process["Uid"]), process["NoNewPrivs"], int(process["CapBnd"][0], 16)) == ({wanted}, ["1"], 0)
