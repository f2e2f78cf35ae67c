"""The cache that workers share, in a container of its own (COMPOSE_PROFILES=cache)."""

import pytest

from tests import described
from tests.container.stack import Stack

pytestmark = [pytest.mark.container, pytest.mark.night]


def test_workers_share_what_is_stored(healthy: Stack) -> None:
    healthy.env |= {"COMPOSE_PROFILES": "cache", "CACHE_URL": "redis://cache:6379/0"}
    try:
        healthy.up("--build")
        said = healthy.execute("app", *described.MANAGE, "cache_cost", "--workers=2", "--values=40").stdout
        assert "Of 40 values that another worker had stored, 40 were found" in said
        # A full cache drops what it has, and is not killed.
        healthy.execute("app", *described.MANAGE, "cache_cost", "--workers=1", "--values=1500")
        healthy.execute("cache", "valkey-cli", "ping")
        container = healthy.inspect("cache")
        assert container["State"]["Running"]
        assert not container["State"]["OOMKilled"]
        assert container["RestartCount"] == 0
        assert container["Config"]["User"] == "10004:10004"
        assert not container["HostConfig"]["PortBindings"]
    finally:
        # Without its profile Compose would leave it running.
        healthy.compose("rm", "--stop", "--force", "cache", check=False)
