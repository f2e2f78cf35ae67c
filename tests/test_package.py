"""The package lowtide: its version, what it imports, and who imports the application."""

import re
import sys
from collections.abc import Iterator

import grimp
import pytest

import lowtide
from tests.machine import CHECKOUT

# What a runtime module may import beside the standard library: the server for which it is made.
SERVERS = {"uwsgi"}


APPLICATION = sorted(path.parent.name for path in (CHECKOUT / "app").glob("*/__init__.py"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    own = ["lowtide", "loadtest", "stack", "deploy.aws", *APPLICATION]
    return grimp.build_graph(*own, include_external_packages=True, cache_dir=None)


def imports(graph: grimp.ImportGraph, package: str) -> Iterator[tuple[str, str]]:
    for module in {package} | graph.find_descendants(package):
        for imported in graph.find_modules_directly_imported_by(module):
            yield module, imported


def test_the_images_carry_the_version() -> None:
    versions = re.findall(r"^ARG VERSION=(.*)$", (CHECKOUT / "Dockerfile").read_text(), re.MULTILINE)
    assert versions == [lowtide.__version__]


def test_the_public_names_are_there() -> None:
    assert all(hasattr(lowtide, name) for name in lowtide.__all__)


def test_the_runtime_needs_the_standard_library_only(graph: grimp.ImportGraph) -> None:
    apart = ("lowtide.tools", "lowtide.django")
    outside = {
        (module, imported)
        for module, imported in imports(graph, "lowtide")
        # One runs in a process of its own, the other imports nothing before it is switched on; both are extras.
        if module not in ("lowtide.metrics", "lowtide.telemetry")
        and not module.startswith(apart)
        and imported.partition(".")[0] not in {*sys.stdlib_module_names, "lowtide"}
    }
    assert {imported for _, imported in outside} <= SERVERS, outside


@pytest.mark.parametrize("package", ["lowtide", "loadtest", "stack", "deploy.aws"])
def test_nobody_imports_the_application(graph: grimp.ImportGraph, package: str) -> None:
    assert APPLICATION
    assert not [pair for pair in imports(graph, package) if pair[1].partition(".")[0] in APPLICATION]


def test_the_application_needs_nothing_but_lowtide_django(graph: grimp.ImportGraph) -> None:
    ours = {"lowtide", "loadtest", "stack", "deploy", "tests"}
    of_ours = {pair for package in APPLICATION for pair in imports(graph, package) if pair[1].partition(".")[0] in ours}
    assert of_ours
    assert all(imported.startswith("lowtide.django") for _, imported in of_ours), of_ours


def test_the_tests_of_a_file_run_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist adds a group to a test's id. Without groups each process would start what the tests share."""
    assert ("@" in request.node.nodeid) == request.config.getoption("loadgroup", False)
