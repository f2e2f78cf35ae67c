"""Requests that are not part of the list: before the load, after it, and one large request alone."""

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from loadtest.load import scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure
from lowtide import application
from lowtide.application import Call


def ask(site: str, call: Call, path: str = "", body: bytes = b"") -> None:
    """Send a request, with `path` in place of its own if that is given.

    Raises:
        CannotMeasure: it was not answered, or with another status than expected.
    """
    headers = {"Accept-Encoding": "identity"} | application.headers(call, os.environ)
    url = site + (path or call.path)
    try:
        answer = requests.request(
            call.method, url, data=body or call.body, headers=headers, timeout=65, allow_redirects=False
        )
    except requests.RequestException as error:
        raise CannotMeasure(f"{url} does not answer: {error}") from error
    if answer.status_code != call.status:
        raise CannotMeasure(f"{url} answered {answer.status_code}: {answer.text[:300]}")


def page(site: str) -> None:
    """Ask for the page that most visitors see."""
    ask(site, Call(path=scenarios.described().page))


def warm_up(site: str, scenario: Scenario, count: int = 300) -> None:
    """Send enough small requests to reach every worker, and to the large pool a request that needs little memory."""
    small = itertools.islice(scenarios.requests(scenario, "small", seed=0), count)
    for _ in range(3):
        ask(site, scenarios.loadtest().warm_up)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda asked: ask(site, asked.call, asked.path), small))


def quiet(site: str, seconds: float) -> None:
    """Send two small requests a second."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        page(site)
        time.sleep(min(0.5, max(0, left)))
