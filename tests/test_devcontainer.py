"""The container that an editor opens a checkout in has what the tests need, and is no second list of it."""

import json
import re

from tests.machine import CHECKOUT


def test_it_has_the_packages_of_a_bare_machine() -> None:
    here = (CHECKOUT / ".devcontainer/Dockerfile").read_text()
    listed = re.search(r"for package in ([^;]+);", (CHECKOUT / ".ci/run").read_text())
    assert listed
    assert set(listed[1].split()) <= set(here.split())


def test_the_editor_starts_it_as_its_user() -> None:
    described = json.loads((CHECKOUT / ".devcontainer/devcontainer.json").read_text())
    assert described["remoteUser"] in (CHECKOUT / ".devcontainer/Dockerfile").read_text().split()
    assert (CHECKOUT / ".devcontainer" / described["build"]["dockerfile"]).exists()
