"""The memory limit of nginx's container follows from its configuration."""

import re

import pytest
import yaml

from tests.machine import CHECKOUT

CONF = "".join((CHECKOUT / "nginx" / name).read_text() for name in ("nginx.conf.template", "site.conf"))
# A connection with its request takes 5.5 KB in nginx, as measured. The answer's buffers are nginx's default, 9 pages.
POOLS_KB, ANSWER_KB = 6, 36
# nginx's processes take 22 MiB of RSS without any connection.
IDLE_MB = 22
LIMITS = {
    "docker-compose.yml": r"mem_limit: (\d+)m\n    # Longer than the 60 s that nginx",
    "deploy/kubernetes/base/site.yml": r"memory: (\d+)Mi, ephemeral-storage: 2Gi",
    "deploy/aws/templates/service.yml": r"Memory: (\d+)\n          MemoryReservation: 64",
}


def number(pattern: str) -> int:
    match = re.search(pattern, CONF)
    assert match, pattern
    return int(match[1])


@pytest.mark.parametrize("path", LIMITS)
def test_every_connection_at_its_worst_fits(path: str) -> None:
    connections = number(r"worker_processes (\d+);") * number(r"worker_connections (\d+);")
    header_kb = 1 + number(r"large_client_header_buffers (\d+) 8k;") * 8
    each_kb = POOLS_KB + header_kb + number(r"client_body_buffer_size (\d+)k;") + ANSWER_KB
    match = re.search(LIMITS[path], (CHECKOUT / path).read_text())
    assert match, path
    assert IDLE_MB + connections * each_kb / 1024 <= int(match[1])


def test_compose_gives_nginx_every_setting_that_it_reads() -> None:
    names = set(re.findall(r"\b([A-Z_]+_IN_FLIGHT)\b", (CHECKOUT / "nginx/start").read_text()))
    services = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    assert names <= services["nginx"]["environment"].keys()
