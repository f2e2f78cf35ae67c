"""The ledger in containers, with requests whose peaks are known."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.container.stack import Stack
from tests.machine import free_port
from tests.stack.conftest import PLANTED
from tests.stack.edge import wait_until

pytestmark = [pytest.mark.container, pytest.mark.night]


@pytest.mark.usefixtures("stack")
def test_the_peak_of_a_planted_route_is_known(tmp_path: Path) -> None:
    """Send a thousand requests to the images of the fixture, with the planted application in the place of app/."""
    planted = {"volumes": [f"{PLANTED}:/srv/lowtide/app:ro"], "env_file": []}
    overlay = tmp_path / "planted.json"
    overlay.write_text(json.dumps({"services": {"app": planted, "migrate": planted}}))
    stack = Stack(free_port(), overlay)

    def routes() -> dict[str, Any]:
        shown = json.loads(stack.execute("app", "python", "-m", "lowtide", "top", "--format", "json").stdout)
        return {route["route"]: route for route in shown["routes"]}

    def entered() -> bool:
        return [routes().get(route, {}).get("count") for route in ("/take/{id}/", "/item/{id}/")] == [200, 800]

    try:
        stack.up()
        paths = [f"/item/{number}/" if number % 5 else "/take/40/" for number in range(1000)]
        with ThreadPoolExecutor(4) as pool:
            assert {answer.status_code for answer in pool.map(stack.get, paths)} == {200}
        wait_until("all requests are entered", entered)
        large, small = routes()["/take/{id}/"], routes()["/item/{id}/"]
    finally:
        stack.end()
    assert [large[peak] for peak in ("peak_p50_mb", "peak_max_mb")] == [pytest.approx(40, rel=0.1)] * 2
    assert small["peak_p50_mb"] < 1
