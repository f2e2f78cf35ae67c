"""Requests that schemathesis makes up from app/openapi.yml, and others from hypothesis: none makes the server fail.

    FUZZ_CASES=10000 .venv/bin/pytest tests/app/test_fuzz.py

sends 10,000 of each instead of a few; with TESTS_DATABASE_URL=postgres://... on PostgreSQL. `pytest -m night
tests/app/test_postgresql.py` does it on both.
"""

import gc
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
import yaml
from catalog.models import Product
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import strategies as some
from pytest_django import Settings
from schemathesis import Case, GenerationMode

from lowtide import memory
from lowtide.django.guard import readable
from tests.app.feeds import TOKEN, fill, product

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(7200)]

# How many requests schemathesis makes up for all endpoints together, and hypothesis for both formats together.
CASES = int(os.environ.get("FUZZ_CASES", "80"))
# What a short run makes up is the same each time.
SHORT = CASES < 1000
DESCRIPTION = yaml.safe_load((Path(__file__).resolve().parents[2] / "app/openapi.yml").read_text())
# Only requests with parameters or a body differ from each other; of the others schemathesis sends ten.
OPERATIONS = [row for rows in DESCRIPTION["paths"].values() for row in rows.values()]
VARIED = sum("parameters" in row or "requestBody" in row for row in OPERATIONS)
# The number of requests of a long run that are kept, and sent again and again at its end: by then memory must not grow.
KEPT = 300
kept: list[tuple[dict[str, Any], bytes]] = []

# How many requests were answered with which status.
sent: Counter[int] = Counter()


def cases(tests: int) -> hypothesis.settings:
    """An equal share of CASES for each of `tests` tests."""
    return hypothesis.settings(
        max_examples=-(-CASES // tests),
        deadline=None,
        database=None,
        derandomize=SHORT,
        suppress_health_check=list(HealthCheck),
    )


schema = schemathesis.openapi.from_dict(DESCRIPTION)
schema.app = readable(lambda environ, start_response: handlers[-1](keep(environ), start_response))
# The application with the settings of the running test, because middleware reads the settings when it is made.
handlers: list[WSGIHandler] = []
schema.config.update(base_url="http://testserver")
schema.config.generation.update(
    modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE], with_security_parameters=False
)


def keep(environ: dict[str, Any]) -> dict[str, Any]:
    body = environ["wsgi.input"].read()
    if not SHORT and len(kept) < KEPT:
        kept.append(({name: value for name, value in environ.items() if isinstance(value, str)}, body))
    return environ | {"wsgi.input": io.BytesIO(body)}


def again() -> float:
    """Send the kept requests again; RSS afterwards, in MiB."""
    for environ, body in kept:
        given = environ | {"wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr}
        application: Any = handlers[-1]
        response = application(given, lambda *_: None)
        list(response)
        response.close()
    gc.collect()
    return memory.rss_mb(os.getpid())


@schemathesis.serializer("application/x-ndjson")
def ndjson(_: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(autouse=True)
def ready(settings: Settings, open_connection: None) -> Iterator[None]:
    fill(30)
    # A lockout would end the search, and checking passwords would take up all of the time.
    settings.AXES_ENABLED = False
    settings.ALLOWED_HOSTS = ["*"]
    handlers[:] = [WSGIHandler()]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    sent.clear()
    kept.clear()
    yield
    print(f"{sent.total()} requests, answered {dict(sent)}")
    assert set(sent) - {301, 400}, "no request got as far as a view"
    if kept:
        settled_mb, *_, end_mb = [again() for _ in range(5)][1:]
        print(f"{len(kept)} again and again: {end_mb - settled_mb:+.1f} MiB; {Product.objects.count()} products")
        assert end_mb - settled_mb < 2


def check(status: int, content_type: str, text: str) -> None:
    """No failure of the server, no traceback, and each refusal says why."""
    sent[status] += 1
    assert status < 500, text[:2000]
    assert "Traceback" not in text
    if status >= 400 and status != 405:
        said = json.loads(text)["error"] if content_type == "application/json" else re.sub("<[^>]*>", "", text)
        assert len(said.strip()) > 10, text


@schema.parametrize()
@cases(VARIED)
def test_requests_made_up_from_the_description(case: "Case[Any]") -> None:
    # A browser sends both with the form of the login.
    headers, cookies = {"X-CSRFToken": "a" * 32}, {"csrftoken": "a" * 32}
    if case.operation.definition.raw.get("security"):
        headers["Authorization"] = f"Bearer {TOKEN}"
    response = case.call(headers=headers, cookies=cookies)
    check(response.status_code, response.headers.get("content-type", [""])[0], response.text)


texts = some.text(max_size=60)
headers = some.text(some.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=60)
paths = some.sampled_from([*DESCRIPTION["paths"], "/", "/admin/", "/admin/catalog/product/", "/static/x"])
content_types = some.one_of(
    headers,
    some.sampled_from(["application/json", "application/x-ndjson", "application/x-www-form-urlencoded"]),
    some.builds("multipart/form-data; boundary={}".format, headers),
    some.builds("text/plain; charset={}".format, headers),
)


names = some.sampled_from(
    [
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_AUTHORIZATION",
        "HTTP_CONTENT_ENCODING",
        "HTTP_COOKIE",
        "HTTP_HOST",
        "HTTP_IF_MODIFIED_SINCE",
        "HTTP_ORIGIN",
        "HTTP_RANGE",
        "HTTP_REFERER",
        "HTTP_USER_AGENT",
        "HTTP_X_CSRFTOKEN",
        "HTTP_X_FORWARDED_FOR",
        "HTTP_X_REQUEST_ID",
    ]
)
cookies = some.builds('sessionid="{}"; csrftoken={}'.format, headers, headers)
parameters = some.builds("{}={}".format, some.sampled_from(["q", "category", "page", "dry_run", "next"]), headers)


@given(
    method=some.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"]),
    path=some.one_of(paths, some.builds("{}{}".format, paths, texts)),
    query=some.one_of(headers, parameters),
    given_headers=some.dictionaries(names, some.one_of(headers, cookies)),
    content_type=content_types,
    body=some.binary(max_size=200),
)
@cases(2)
def test_requests_of_any_kind(
    method: str, path: str, query: str, given_headers: dict[str, str], content_type: str, body: bytes
) -> None:
    """The headers as a server hands them on: values are latin-1."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "PATH_INFO": path.encode("utf-8", "surrogatepass").decode("latin-1"),
        "QUERY_STRING": query, "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)),
        "SERVER_NAME": "testserver", "SERVER_PORT": "80", "HTTP_HOST": "testserver",
        "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr,
    } | given_headers  # fmt: skip
    answers: list[tuple[int, dict[str, str]]] = []
    response: Any = schema.app(environ, lambda status, head: answers.append((int(status[:3]), dict(head))))
    text = b"".join(response).decode()
    ((status, head),) = answers
    # HEAD has no body, and TRACE and OPTIONS may be answered without one.
    check(status, head.get("Content-Type", ""), text) if text else None
    assert status < 500


anything = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(), some.floats(), texts),
    lambda values: some.one_of(some.lists(values, max_size=4), some.dictionaries(texts, values, max_size=4)),
    max_leaves=8,
)
records = some.one_of(
    anything,
    some.builds(
        lambda number, changes: product(number) | changes,
        some.integers(1, 60),
        some.dictionaries(
            some.sampled_from(["sku", "name", "category", "description", "price", "stock", "end", "records"]),
            some.one_of(anything, some.from_regex(r"[-+0-9.eE]{1,12}", fullmatch=True)),
            max_size=3,
        ),
    ),
)


@given(feed=some.lists(records, max_size=5), ndjson=some.booleans(), dry_run=some.booleans(), torn=some.integers(0, 9))
@cases(2)
def test_feeds_of_any_kind(feed: list[Any], ndjson: bool, dry_run: bool, torn: int) -> None:
    """Feeds with records that are almost right, and bodies from which something is missing."""
    lines = [json.dumps(record).encode() for record in feed]
    body = b"\n".join(lines) if ndjson else b"[" + b",".join(lines) + b"]"
    response: Any = Client().post(
        f"/catalog/import/?dry_run={int(dry_run)}",
        body[: len(body) - torn // 8],
        content_type="application/x-ndjson" if ndjson else "application/json",
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    text = response.getvalue().decode()
    check(response.status_code, response["Content-Type"], text)
    if response.status_code == 200:
        results = [json.loads(line) for line in text.splitlines()][:-1] if ndjson else json.loads(text)["results"]
        assert all(result["errors"] for result in results if result["status"] == "invalid")
