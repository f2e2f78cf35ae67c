"""What app/lowtide.toml says, for tests that drive the stack with whatever application is there."""

from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.load import scenarios
from lowtide import application
from lowtide.application import Call, Request

CHECKOUT = Path(__file__).resolve().parents[1]
APPLICATION = application.read(CHECKOUT / "app")
PAGE = APPLICATION.page
# The application's variables as the tests set them.
VARIABLES = {
    name: variable.loadtest or ("of-the-tests" if variable.secret else "")
    for name, variable in APPLICATION.variables.items()
}
LARGE_PATHS = [path.removesuffix("*") for path in APPLICATION.large]
REQUESTS = APPLICATION.loadtest.requests if APPLICATION.loadtest else ()


def headers(call: Call) -> dict[str, str]:
    return application.headers(call, VARIABLES)


def large() -> Request:
    """The first request of the list with a body that is made: the one that inflates a worker."""
    row = next((row for row in REQUESTS if row.lane == "large" and row.make_body), None)
    if row is None:
        pytest.skip("app/lowtide.toml has no large request with make_body, and this test needs one")
    return row


def large_body(folder: Path, records: int = 10_000) -> bytes:
    """Its body."""
    return scenarios.body(large(), replace(scenarios.SCENARIOS["default"], records=records), 1, folder)
