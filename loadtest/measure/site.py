"""Asking the site outside of the list: before the load, after it, and one large request alone."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from loadtest.load import scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure


def ask(method: str, url: str, headers: dict[str, str] | None = None, **options: Any) -> None:
    """A request with the token that must succeed.

    Raises:
        CannotMeasure: it did not.
    """
    try:
        answer = requests.request(
            method, url, timeout=65, headers=scenarios.authorization() | (headers or {}), **options
        )
    except requests.RequestException as error:
        raise CannotMeasure(f"{url} does not answer: {error}") from error
    if answer.status_code != 200:
        raise CannotMeasure(f"{url} answered {answer.status_code}: {answer.text[:300]}")


def get(url: str) -> None:
    """A GET that must succeed."""
    ask("GET", url)


def warm_up(url: str, scenario: Scenario, count: int = 300) -> None:
    """Small requests for every worker; those of the large pool are reached by an export that streams."""
    small = list(scenarios.requests(scenario, "small", seed=0))[:count]
    for _ in range(3):
        get(f"{url}/catalog/export.ndjson")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: get(url + row[1]), small))


def quiet(url: str, seconds: float) -> None:
    """Two small requests a second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        get(f"{url}/catalog/")
        time.sleep(min(0.5, max(0, left)))


def send(url: str, body: bytes | None) -> None:
    """A large request that must succeed: a POST of `body`, a GET without one."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    ask("POST" if body else "GET", url, data=body, headers=headers)
