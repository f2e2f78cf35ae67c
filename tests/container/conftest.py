"""One stack for all container tests, built from the checkout."""

import os
from collections.abc import Iterator

import pytest

from tests import described
from tests.container.stack import Stack, run
from tests.machine import free_port


@pytest.fixture(scope="session")
def engine() -> None:
    """Without an engine skip the container tests and say why; in CI fail instead."""
    for command in (("docker", "info"), ("docker", "compose", "version")):
        try:
            problem = "" if run(*command).returncode == 0 else f"`{' '.join(command)}` failed"
        except FileNotFoundError:
            problem = "there is no docker command"
        if problem:
            message = f"needs a Docker engine with Compose, but {problem}. On Debian .ci/engine starts one."
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An import of 23 MB, which inflates the worker that serves it to about 200 MiB."""
    return described.large_body(tmp_path_factory.mktemp("feed"))


@pytest.fixture(scope="session")
def stack(engine: None) -> Iterator[Stack]:
    stack = Stack(free_port())
    try:
        stack.up("--build")
        yield stack
    finally:
        stack.end()


@pytest.fixture
def healthy(stack: Stack) -> Iterator[Stack]:
    """The stack, for a test that breaks it or changes its settings; afterwards it is started again as it was."""
    env = dict(stack.env)
    try:
        yield stack
    finally:
        stack.env = env
        stack.up()
