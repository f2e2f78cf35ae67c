"""Files that cannot import lowtide/defaults.py have the same values. For deploy/ see tests/deploy/test_sizing.py."""

import re

import pytest
from dotenv import dotenv_values

from lowtide import defaults
from tests.machine import CHECKOUT

DEFAULTS = defaults.variables()


def copies(file: str, pattern: str) -> list[str]:
    return re.findall(pattern, (CHECKOUT / file).read_text())


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_new_settings_file_has_the_default(name: str) -> None:
    assert dotenv_values(CHECKOUT / ".env.example")[name] == DEFAULTS[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_compose_passes_the_default_on(name: str) -> None:
    assert set(copies("docker-compose.yml", rf"\$\{{{name}:-([^}}]*)\}}")) == {DEFAULTS[name]}


@pytest.mark.parametrize(
    "name", ["LARGE_WORKERS", "LARGE_IN_FLIGHT", "SMALL_IN_FLIGHT", "CLIENT_IN_FLIGHT", "MAX_BODY_MB"]
)
def test_nginx_has_the_default(name: str) -> None:
    assert copies("nginx/start", rf'"\$\{{{name}:=([^}}]*)\}}"') == [DEFAULTS[name]]


@pytest.mark.parametrize("name", DEFAULTS)
def test_the_images_hold_no_copy(name: str) -> None:
    assert not copies("Dockerfile", rf"\b{name}=(\S+)")
