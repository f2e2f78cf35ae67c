"""OpenTelemetry and Sentry in Docker: COMPOSE_FILE=docker-compose.yml:observe/telemetry.yml."""

import json
from pathlib import Path

import pytest

from tests import described
from tests.container.stack import Stack, run
from tests.machine import CHECKOUT, free_port
from tests.stack.edge import wait_until
from tests.stack.receiver import receiving

pytestmark = [pytest.mark.container, pytest.mark.night]


def test_a_request_is_reported_outside_of_its_networks(engine: None) -> None:
    stack = Stack(free_port(), CHECKOUT / "observe/telemetry.yml", Path(__file__).with_name("telemetry.yml"))
    try:
        stack.up("--build")
        (network,) = json.loads(run("docker", "network", "inspect", f"{stack.project}_out").stdout)
        with receiving(network["IPAM"]["Config"][0]["Gateway"]) as receiver:
            stack.env |= receiver.variables()
            stack.up()
            request_id = stack.get(described.PAGE).headers["X-Request-ID"]

            def reported() -> list[bool]:
                return [
                    any(span.get("lowtide.request_id") == request_id for _, span in receiver.spans),
                    any(event.get("tags", {}).get("request_id") == request_id for event in receiver.events),
                ]

            wait_until("both are told", lambda: reported() == [True, True], 60)
    finally:
        stack.end()
        run("docker", "image", "rm", "lowtide-app-telemetry")
