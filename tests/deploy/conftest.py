"""What the tests of deploy/ share: the tools of .venv-deploy, templates, built manifests, and moto as AWS."""

import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.aws import cfn
from tests.machine import CHECKOUT, free_port

TOOLS = CHECKOUT / ".venv-deploy" / "bin"
OVERLAYS = ["overlays/small", "overlays/production", "loadtest"]


def tool(
    name: str, *words: str, check: bool = False, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of requirements/deploy.txt in the checkout to its end."""
    if not (TOOLS / name).exists():
        pytest.fail(f"{TOOLS / name} is missing: `make test` installs requirements/deploy.txt there")
    done = subprocess.run(
        [str(TOOLS / name), *words], cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=120
    )
    if check and done.returncode:
        pytest.fail(f"{name} {' '.join(words)}:\n{done.stdout}{done.stderr}")
    return done


@pytest.fixture
def parsed() -> dict[str, dict[str, Any]]:
    """Every template, parsed anew for each test, so that a test may break it."""
    return {stack: cfn.load(stack) for stack in cfn.NAMES}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each overlay a file with what `kubectl kustomize` makes of it."""
    folder = tmp_path_factory.mktemp("kubernetes")
    files = {}
    for overlay in OVERLAYS:
        path = folder / f"{overlay.replace('/', '-')}.yml"
        path.write_text(tool("kubectl", "kustomize", f"deploy/kubernetes/{overlay}", check=True).stdout)
        files[overlay] = path
    return files


@pytest.fixture
def manifests(built: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """The objects of each overlay, parsed anew for each test."""
    return {overlay: list(yaml.safe_load_all(path.read_text())) for overlay, path in built.items()}


@pytest.fixture(scope="session")
def aws() -> Iterator[dict[str, str]]:
    """The environment of a program that is to call moto's server in place of AWS."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    if not (TOOLS / "moto_server").exists():
        pytest.fail(f"{TOOLS / 'moto_server'} is missing: `make test` installs requirements/deploy.txt there")
    server = subprocess.Popen(
        [str(TOOLS / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=2).read()  # noqa: S310
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("moto's server did not come up within a minute")
        given = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        yield given | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.terminate()
        server.wait(10)
