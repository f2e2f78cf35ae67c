"""cfn-lint, checkov and other linters run over the templates, the manifests and the workflow."""

import json
import re
from pathlib import Path

import pytest
import yaml

from deploy.aws import cfn
from tests.deploy.conftest import tool
from tests.machine import CHECKOUT

SKIPS: list[str] = yaml.safe_load((CHECKOUT / "deploy/checkov.yml").read_text())["skip-check"]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the templates as CloudFormation gets them, with the application's own variables."""
    folder = tmp_path_factory.mktemp("templates")
    for stack in cfn.NAMES:
        (folder / f"{stack}.json").write_text(cfn.text(stack))
    return folder


def test_cfn_lint_finds_nothing(rendered: Path) -> None:
    done = tool("cfn-lint", *(str(path) for path in sorted(rendered.iterdir())))
    assert done.returncode == 0, done.stdout


def test_cfn_lint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "service.yml"
    broken.write_text(
        (CHECKOUT / "deploy/aws/templates/service.yml").read_text().replace("ContainerPort: 8080", "ContainerPort: web")
    )
    assert tool("cfn-lint", str(broken)).returncode != 0


@pytest.fixture(scope="module")
def failed_without_skips(rendered: Path, built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The ids of all rules of checkov that are broken."""
    config = tmp_path_factory.mktemp("checkov") / "none.yml"
    config.write_text("skip-download: true\n")
    places = [
        "--directory",
        str(rendered),
        *(word for path in built.values() for word in ("--file", str(path))),
    ]
    found: set[str] = set()
    for words in (places[:2], places[2:]):
        done = tool("checkov", "--config-file", str(config), "--output", "json", *words)
        reports = json.loads(done.stdout)
        for report in reports if isinstance(reports, list) else [reports]:
            assert report["summary"]["passed"] > 0, "checkov has looked at nothing"
            found |= {check["check_id"] for check in report["results"]["failed_checks"]}
    return found


def test_checkov_finds_nothing_that_is_not_explained(failed_without_skips: set[str]) -> None:
    assert failed_without_skips - set(SKIPS) == set()


def test_every_exception_is_still_needed(failed_without_skips: set[str]) -> None:
    assert set(SKIPS) - failed_without_skips == set()


def test_every_exception_has_its_reason() -> None:
    """There is a comment above each rule that is left out, or above the group of lines that it belongs to."""
    lines = (CHECKOUT / "deploy/checkov.yml").read_text().splitlines()
    explained = False
    for line in lines[lines.index("skip-check:") + 1 :]:
        explained = explained or bool(re.match(r"  # .{30}", line))
        if line.startswith("  - "):
            assert explained, line


@pytest.mark.parametrize("overlay", ["overlays/small", "overlays/production", "loadtest"])
def test_manifests_are_kubernetes(overlay: str, built: dict[str, Path]) -> None:
    done = tool("kubernetes-validate", "--strict", str(built[overlay]))
    assert done.returncode == 0, done.stdout + done.stderr
    unknown = re.findall(r"Couldn't find schema for kind (\w+)", done.stdout + done.stderr)
    # ServiceMonitor is a kind of the Prometheus operator, for which Kubernetes has no schema.
    assert set(unknown) <= {"ServiceMonitor"}


def test_a_misspelt_field_is_noticed(built: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(built["overlays/small"].read_text().replace("readOnlyRootFilesystem", "readonlyRootFilesystem"))
    assert tool("kubernetes-validate", "--strict", str(broken)).returncode != 0


def test_the_workflows_are_well_formed() -> None:
    workflows = sorted(str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / ".github/workflows").glob("*.yml"))
    tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows, check=True)
    tool("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml", check=True)


def test_nothing_in_the_workflows_can_be_exploited() -> None:
    tool("zizmor", "--offline", "--no-progress", ".github", check=True)
