"""Hostile requests cost time and memory in proportion to their length, and no more. No database takes part."""

import collections
import gc
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from tests.app.feeds import fill, post_json, product
from tests.machine import processor_seconds

pytestmark = pytest.mark.django_db

# For a text twice as long, linear work takes twice as long, and quadratic work four times as long.
LINEAR = 3.0
FIELDS = ["sku", "name", "category", "description", "price", "stock", "unknown"]
FILLINGS = {
    "digits": lambda n: "9" * n,
    "digits and a letter": lambda n: "9" * n + "x",
    "points": lambda n: "." * n,
    "a fraction": lambda n: "0." + "0" * n + "1",
    "exponents": lambda n: "1e" + "9" * n,
    "spaces": lambda n: "a" + " " * n + "b",
    "line ends": lambda n: "a" + "\r\n" * (n // 2) + "b",
    "hyphens": lambda n: "-" * n,
    "combining characters": lambda n: "a" + "\u0300\u0316" * (n // 2),
    "Hangul": lambda n: "\u1100\u1161\u11a8" * (n // 3),
    "half pairs": lambda n: "\ud83d" * n,
    "what grows in NFC": lambda n: "\ufb2c" * n,
}
Send = Callable[[Client, bytes], object]


def as_json(client: Client, record: bytes) -> object:
    return post_json(client, b"[" + record + b"]", "?dry_run=1").status_code


def as_ndjson(client: Client, record: bytes) -> object:
    return client.post("/catalog/import/?dry_run=1", record, content_type="application/x-ndjson").status_code


def ratio(call: Callable[[int], object], n: int) -> float:
    """How many times as long 2n takes as n. A millisecond is added to both, because times below that are only noise."""
    return (processor_seconds(lambda: call(2 * n)) + 1e-3) / (processor_seconds(lambda: call(n)) + 1e-3)


@pytest.mark.parametrize("send", [as_json, as_ndjson])
@pytest.mark.parametrize("filling", FILLINGS)
def test_time_grows_with_the_length_of_each_field(client: Client, send: Send, filling: str) -> None:
    """The longest line of NDJSON that is allowed, and as much in JSON."""

    def one_field(field: str) -> float:
        def record(n: int) -> bytes:
            text = json.dumps(product(1) | {field: FILLINGS[filling](n)}, ensure_ascii=False)
            return text.encode("utf-8", "surrogatepass")

        return ratio(lambda n: send(client, record(n)), 30_000)

    slow = {field: one_field(field) for field in FIELDS}
    assert {field: ratio for field, ratio in slow.items() if ratio > LINEAR} == {}


@pytest.mark.parametrize("send", [as_json, as_ndjson])
@pytest.mark.parametrize("number", ["9", "0.9", "1e9", "-9"])
def test_time_grows_with_the_length_of_a_number(client: Client, send: Send, number: str) -> None:
    def one_number(n: int) -> object:
        return send(client, b'{"price": %s, "stock": 1}' % (number + "9" * n).encode())

    assert ratio(one_number, 60_000) < LINEAR


def test_a_longest_text_costs_no_more_than_others(client: Client) -> None:
    """Of fields with the greatest allowed length, the slowest to normalise against plain ones, a hundred of each."""

    def hundred(text: str) -> float:
        feed = [product(number, description=text) for number in range(100)]
        return processor_seconds(lambda: post_json(client, feed, "?dry_run=1"))

    assert hundred("a" + "\u0300\u0316" * 4999) < 10 * hundred("a\u0300\u0316b" * 2500)


@pytest.mark.parametrize("field", ["q", "category", "page"])
def test_time_grows_with_the_length_of_a_parameter(client: Client, field: str) -> None:
    fill(30)

    def ask(n: int) -> object:
        return client.get("/catalog/", {field: "9" * n}).status_code

    assert ratio(ask, 30_000) < LINEAR
    assert client.get("/catalog/", {field: "9" * 100_000}).status_code == 200


# Bodies of n bytes that would take much more in memory.
BODIES: dict[str, Callable[[int], bytes]] = {
    "ones": lambda n: b"[" + b"1," * (n // 2 - 1) + b"1]",
    "empty lists": lambda n: b"[" + b"[]," * (n // 3 - 1) + b"[]]",
    "empty objects": lambda n: b"[" + b"{}," * (n // 3 - 1) + b"{}]",
    "fractions": lambda n: b"[" + b"1.5," * (n // 4 - 1) + b"1.5]",
    "short texts": lambda n: b"[" + b'"ab",' * (n // 5 - 1) + b'"ab"]',
    "fields": lambda n: b"[{" + b",".join(b'"%x":1' % number for number in range(n // 9)) + b"}]",
    "spread out": lambda n: b"[" + b"1.5     ," * (n // 9 - 1) + b"1.5]",
    "lists of one list": lambda n: b"[" + b"[[[[[[[[]]]]]]]]," * (n // 17 - 1) + b"[]]",
    "wide characters": lambda n: '["{}\U0001f600"]'.format("x" * (n - 8)).encode(),
    "nothing": lambda n: b" " * n,
    "records": lambda n: json.dumps([product(number, description="d" * 3000) for number in range(n // 3200)]).encode(),
    "records without errors": lambda n: json.dumps(
        [{"sku": f"{number:x}", "name": "n", "category": "c", "description": "d", "price": "1", "stock": 1}
         for number in range(n // 85)]
    ).encode(),
    "records of errors": lambda n: json.dumps(
        [{"sku": "-", "name": "", "category": "", "description": "", "price": "", "stock": ""}
         for number in range(n // 80)]
    ).encode(),
}  # fmt: skip
ENDPOINTS: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "JSON": ("/catalog/import/?dry_run=1", "application/json", lambda body: body),
    "NDJSON": (
        "/catalog/import/?dry_run=1", "application/x-ndjson", lambda body: body[1:-1].replace(b",", b"\n"),
    ),
    "login, a form": ("/admin/login/", "application/x-www-form-urlencoded", lambda body: b"username=" + body),
    "login, in parts": (
        "/admin/login/", "multipart/form-data; boundary=b",
        lambda body: b'--b\r\nContent-Disposition: form-data; name="username"\r\n\r\n' + body + b"\r\n--b--\r\n",
    ),
    "a page": ("/catalog/", "application/json", lambda body: body),
    "nothing there": ("/none/", "application/x-www-form-urlencoded", lambda body: body),
}  # fmt: skip
# The most memory that a body may take: bytes for each byte of the body, and bytes besides.
BYTES_PER_BYTE = 20
ALLOWED_BYTES = 2 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_memory_is_bounded_by_the_length_of_the_body(client: Client, endpoint: str, body: str) -> None:
    path, content_type, wrap = ENDPOINTS[endpoint]
    # Tracing memory is slow, and NDJSON of many lines is much work.
    sent = wrap(BODIES[body](2**16 if endpoint == "NDJSON" else 2**20))
    client.post(path, wrap(b"[1]"), content_type=content_type)
    gc.collect()
    tracemalloc.start()
    try:
        response: Any = client.post(path, sent, content_type=content_type)
        collections.deque(response, maxlen=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.status_code < 500
    assert peak < BYTES_PER_BYTE * len(sent) + ALLOWED_BYTES
