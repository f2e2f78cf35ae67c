"""A user who asks for one page, and the Memory tab. For tests only."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from locust import FastHttpUser, constant, events, task
from locust.env import Environment

from loadtest.load.live import listeners


class Visitor(FastHttpUser):
    wait_time = constant(0.2)

    @task
    def visit(self) -> None:
        self.client.get("/")


@events.init.add_listener  # type: ignore[untyped-decorator]
def watch(environment: Environment, **_: Any) -> None:
    listeners.register(environment)
