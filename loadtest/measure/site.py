"""Requests that are not part of the list: before the load, after it, and one large request alone."""

import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

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


class Token(HTMLParser):
    """Finds Django's token against forged requests in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.field: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "input" and values.get("name") == "csrfmiddlewaretoken":
            self.field = {"csrfmiddlewaretoken": values.get("value") or ""}


def token(page: str) -> dict[str, str]:
    """The field of a form that has the token; empty where there is none."""
    parser = Token()
    parser.feed(page)
    return parser.field


def log_in(site: str) -> None:
    """Log in as [loadtest.login] says: from now on each request with `login` is sent as that user, also by Locust.

    Raises:
        CannotMeasure: there is no form, or it was refused.
    """
    login = scenarios.loadtest().login
    if not login:
        return
    url = site + login.path
    try:
        with requests.Session() as browser:
            page = browser.get(url, timeout=65)
            form = {name: value.format_map(os.environ) for name, value in login.form.items()}
            form |= token(page.text)
            before = dict(browser.cookies)
            # Django compares Referer with its own address where the site has HTTPS.
            answer = browser.post(url, form, headers={"Referer": url}, timeout=65, allow_redirects=False)
            cookies = dict(browser.cookies)
    except requests.RequestException as error:
        raise CannotMeasure(f"{url} does not answer: {error}") from error
    if not answer.is_redirect or cookies == before:
        raise CannotMeasure(
            f"{url} answered {answer.status_code} to the form of [loadtest.login], and nobody is logged in: "
            "are its names those of the page, and does a command under `seed` make the user?"
        )
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "Referer": url}
    # A project may give this cookie a name of its own, such as "shop_csrftoken".
    if tokens := [value for name, value in cookies.items() if name.endswith("csrftoken")]:
        headers["X-CSRFToken"] = tokens[0]
    os.environ[application.LOGGED_IN] = json.dumps(headers)


def page(site: str) -> None:
    """Ask for the page that most visitors see."""
    ask(site, Call(path=scenarios.described().page))


def warm_up(site: str, scenario: Scenario, count: int = 300) -> None:
    """Log in; send enough small requests to reach every worker, and to the large pool some that need little memory."""
    log_in(site)
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
