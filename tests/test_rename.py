"""The service's name: what has copies of it agrees with app/lowtide.toml, and `make rename` changes all of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.aws import cfn
from lowtide import application
from stack import rename
from tests.described import NAME
from tests.machine import CHECKOUT

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the files that have the name."""
    for path in [*rename.holders(CHECKOUT), CHECKOUT / "app/lowtide.toml"]:
        target = tmp_path / path.relative_to(CHECKOUT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack.rename", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(CHECKOUT)}, capture_output=True, text=True
    )


def texts(folder: Path) -> dict[Path, str]:
    return {path.relative_to(folder): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_copies_agree() -> None:
    """After a change by hand in app/lowtide.toml `make rename` has to follow, with the old name there first."""
    compose = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    assert compose["name"] == NAME
    images = {service["image"] for service in compose["services"].values() if "build" in service}
    assert {f"{NAME}-app", f"{NAME}-nginx"} < images
    assert all(image.startswith(f"{NAME}-") for image in images), images
    base = yaml.safe_load((CHECKOUT / "deploy/kubernetes/base/kustomization.yml").read_text())
    assert base["namespace"] == NAME
    assert cfn.load("database")["Resources"]["Database"]["Properties"]["DBName"] == NAME


def test_a_new_name_is_everywhere_and_can_be_taken_back(copy: Path) -> None:
    before = texts(copy)
    assert run(copy, "ebbtide").returncode == 0
    assert application.read(copy / "app").name == "ebbtide"
    renamed = texts(copy)
    unchanged = [str(path) for path in before if renamed[path] == before[path] and NAME in before[path]]
    # These name only the package and its files.
    assert all("components" in path or path.endswith("network.yml") for path in unchanged), unchanged
    assert not [path for path, text in renamed.items() if rename.standing(NAME).search(text) and path.suffix != ".toml"]
    compose = renamed[Path("docker-compose.yml")]
    assert "POSTGRES_USER: ebbtide" in compose
    assert "run:/run/lowtide" in compose
    assert "python -m lowtide.application" in compose
    assert "${WORKER_MANAGEMENT:-lowtide}" in compose
    assert run(copy, NAME).returncode == 0
    assert texts(copy) == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Pulse", "NAME=Pulse cannot be a name: write 2 to 15 small letters and digits, beginning with a letter."),
        ("my-shop", "NAME=my-shop cannot be a name: write 2 to 15"),
        ("p", "NAME=p cannot be a name"),
        ("a" * 16, "cannot be a name"),
        ("ebbtide\n", "cannot be a name"),
        # A second renaming could not tell these from what they mean now.
        ("app", "NAME=app cannot be used: in "),
        ("memory", "NAME=memory cannot be used: in "),
        (
            "postgres",
            "NAME=postgres cannot be used: in deploy/aws/templates/database.yml the word means something else.",
        ),
    ],
)
def test_a_name_that_cannot_be_used_changes_nothing(copy: Path, name: str, said: str) -> None:
    before = texts(copy)
    done = run(copy, name)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") <= 2
    assert texts(copy) == before
