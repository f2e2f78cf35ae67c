"""What app/lowtide.toml says, for tests that drive the stack with whatever application is there."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.load import scenarios
from lowtide import application
from lowtide.application import Call, Request
from tests.machine import CHECKOUT

APPLICATION = application.read(CHECKOUT / "app")
NAME = APPLICATION.name
PAGE = APPLICATION.page
NO_PAGE = "/there/is/no/such/page/"
# The application's variables as the tests set them.
VARIABLES = {
    name: variable.loadtest or ("of-the-tests" if variable.secret else "")
    for name, variable in APPLICATION.variables.items()
}
# How long browsers keep static files.
STATIC_CACHE = "max-age=31536000" if APPLICATION.hashed_static else "no-cache"
REQUESTS = APPLICATION.loadtest.requests if APPLICATION.loadtest else ()
MANAGE = ("python", "-m", "lowtide.application", "manage")


def headers(call: Call) -> dict[str, str]:
    return application.headers(call, VARIABLES)


# The headers with a token from a variable, with which every request of the list is let in.
OPENING = {
    name: value
    for row in REQUESTS
    for name, value in headers(row).items()
    if application.variables(Call(path=row.path, headers={name: row.headers[name]}))
}


def first(rows: list[Request], what: str) -> Request:
    if not rows:
        pytest.skip(f"app/lowtide.toml has no {what}, and this test needs one")
    return rows[0]


def stylesheet(page: str) -> str:
    """The path of the first stylesheet that a page loads."""
    found = re.search(r'"(/static/[^"]+\.css)"', page)
    if not found:
        pytest.skip(f"{PAGE} loads no stylesheet, and this test needs one")
    return found[1]


def large() -> Request:
    """The first large request whose body is made by a function: it makes a worker grow."""
    return first([row for row in REQUESTS if row.lane == "large" and row.make_body], "large request with make_body")


def large_body(folder: Path, records: int = 10_000) -> bytes:
    """Its body."""
    return scenarios.body(large(), replace(scenarios.SCENARIOS["default"], records=records), 1, folder)


def writing() -> Request:
    """The request that takes such a body and stores what is in it."""
    names = APPLICATION.loadtest.seed_requests if APPLICATION.loadtest else ()
    return first([row for row in REQUESTS if row.name in names], "seed_requests")


def large_pages() -> list[Request]:
    """Large requests without a body."""
    return [row for row in REQUESTS if row.lane == "large" and row.method == "GET"]


def guarded() -> Call:
    """A request that changes nothing and is refused without its token."""
    calls = [call for call in APPLICATION.preload if application.variables(call)]
    if not calls:
        pytest.skip("no request under [[preload]] in app/lowtide.toml names a variable, and this test needs one")
    return calls[0]


def small_paths(items: int) -> list[str]:
    """A path of each kind of small request, where the database holds `items` items."""
    scenario = replace(scenarios.SCENARIOS["smoke"], items=items)
    return list({asked.row.name: asked.path for asked in scenarios.requests(scenario, "small", 1)}.values())


def seed_commands(items: int) -> list[str]:
    """The commands of manage.py that fill the database with `items` items."""
    return scenarios.seed_commands(replace(scenarios.SCENARIOS["smoke"], items=items), 1)
