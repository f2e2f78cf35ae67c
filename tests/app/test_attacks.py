"""What somebody who means harm sends: it costs time and memory in proportion to its length, and fails nothing else."""

import collections
import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from catalog.imports import MAX_RECORDS, MAX_TOLD
from catalog.models import Category, Product
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client
from pytest_django import Settings

from lowtide.django.guard import readable
from tests.app.feeds import fill, post_json, post_ndjson, product

pytestmark = pytest.mark.django_db

# Work that grows with the length takes twice as long for twice as much, and with the square of it four times.
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


def post(client: Client, path: str, content_type: str, length: int, body: object) -> Any:
    """POST a body that is read from an object of its own."""
    of: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "wsgi.input": body}
    return client.request(**of, CONTENT_TYPE=content_type, CONTENT_LENGTH=str(length))


def seconds(call: Callable[[], object]) -> float:
    """Processor time of the fastest of five calls."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def ratio(call: Callable[[int], object], n: int) -> float:
    """How many times as long 2n takes. A millisecond is added to both: below it there is only noise."""
    return (seconds(lambda: call(2 * n)) + 1e-3) / (seconds(lambda: call(n)) + 1e-3)


@pytest.mark.parametrize("send", [as_json, as_ndjson])
@pytest.mark.parametrize("filling", FILLINGS)
def test_time_grows_with_the_length_of_each_field(client: Client, send: Send, filling: str) -> None:
    """In a line of NDJSON as long as lines may be, and as much in JSON."""

    def one_field(field: str) -> float:
        def record(n: int) -> bytes:
            text = json.dumps(product(1) | {field: FILLINGS[filling](n)}, ensure_ascii=False)
            return text.encode("utf-8", "surrogatepass")

        return ratio(lambda n: send(client, record(n)), 30_000)

    slow = {field: one_field(field) for field in FIELDS}
    assert {field: found for field, found in slow.items() if found > LINEAR} == {}


@pytest.mark.parametrize("send", [as_json, as_ndjson])
@pytest.mark.parametrize("number", ["9", "0.9", "1e9", "-9"])
def test_time_grows_with_the_length_of_a_number(client: Client, send: Send, number: str) -> None:
    def one_number(n: int) -> object:
        return send(client, b'{"price": %s, "stock": 1}' % (number + "9" * n).encode())

    assert ratio(one_number, 60_000) < LINEAR


def test_a_longest_text_costs_no_more_than_others(client: Client) -> None:
    """Fields that are as long as they may be: the slowest to normalise against plain ones, a hundred of each."""

    def hundred(text: str) -> float:
        feed = [product(number, description=text) for number in range(100)]
        return seconds(lambda: post_json(client, feed, "?dry_run=1"))

    assert hundred("a" + "\u0300\u0316" * 4999) < 10 * hundred("a\u0300\u0316b" * 2500)


@pytest.mark.parametrize("field", ["q", "category", "page"])
def test_time_grows_with_the_length_of_a_parameter(client: Client, field: str) -> None:
    fill(30)

    def ask(n: int) -> object:
        return client.get("/catalog/", {field: "9" * n}).status_code

    assert ratio(ask, 30_000) < LINEAR
    assert client.get("/catalog/", {field: "9" * 100_000}).status_code == 200


# Bodies of n bytes that want to become much more in memory.
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
# The most that a body of any kind may take in memory: so many bytes for each of its own, and so many in any case.
BYTES_PER_BYTE = 20
ALLOWED_BYTES = 2 * 2**20


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_memory_is_bounded_by_the_length_of_the_body(client: Client, endpoint: str, body: str) -> None:
    path, content_type, wrap = ENDPOINTS[endpoint]
    # Tracing is slow, and NDJSON of many lines is much work.
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


@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_feed_has_a_bounded_number_of_records(client: Client, content_type: str) -> None:
    separator = b"\n" if content_type == "application/x-ndjson" else b","
    body = separator.join([json.dumps(product(1)).encode(), *[b"1         "] * MAX_RECORDS])
    body = body if separator == b"\n" else b"[" + body + b"]"
    response = client.post("/catalog/import/", body, content_type=content_type)
    assert response.status_code == 413
    assert f"more than {MAX_RECORDS} records" in response.json()["error"]
    assert not Product.objects.exists()


def test_errors_are_told_up_to_a_number(client: Client) -> None:
    answer = post_json(client, [*[1] * (MAX_TOLD + 5), product(1)])
    assert len(answer.content) < 150 * (MAX_TOLD + 6)
    results = answer.json()
    assert results["totals"] == {
        "records": MAX_TOLD + 6,
        "created": 1,
        "updated": 0,
        "valid": 0,
        "invalid": MAX_TOLD + 5,
    }
    assert results["results"][MAX_TOLD - 1]["errors"] == {"record": "must be an object"}
    assert str(MAX_TOLD) in results["results"][MAX_TOLD]["errors"]["record"]


def test_an_answer_does_not_repeat_a_long_sku(client: Client) -> None:
    assert len(post_json(client, [product(1, sku="x" * 100_000)]).content) < 1000


def test_nothing_is_stored_of_a_feed_that_breaks_off(client: Client) -> None:
    """The server may be killed, or the client go away, in the middle of 2,000 records."""
    lines = [json.dumps(product(number)).encode() + b"\n" for number in range(1, 2001)]

    class Torn:
        def __init__(self) -> None:
            self.lines = iter(lines[:1500])

        def readline(self, size: int = -1) -> bytes:
            if line := next(self.lines, b""):
                return line
            raise OSError("the client went away")

        read = readline

    response: Any = post(client, "/catalog/import/", "application/x-ndjson", sum(map(len, lines)), Torn())
    assert response.status_code == 400
    assert not Product.objects.exists()
    assert not Category.objects.exists()


@pytest.mark.parametrize("ndjson", [False, True])
def test_sending_a_feed_again_changes_nothing(client: Client, ndjson: bool) -> None:
    feed: list[Any] = [product(number) for number in range(1, 701)]

    def stored() -> list[Any]:
        if ndjson:
            post_ndjson(client, [*feed])
        else:
            post_json(client, feed)
        return list(Product.objects.order_by("pk").values())

    assert stored() == stored()


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([product(1), {"end": True, "records": 2}], "the feed has 1 records, and its last line says 2"),
        ([{"end": True}], "the feed has 0 records, and its last line says None"),
        ([product(1), {"end": True, "records": 1}, product(2)], "line 3 comes after the one that says"),
    ],
)
def test_a_feed_that_was_cut_is_refused(client: Client, lines: list[object], error: str) -> None:
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    response = client.post("/catalog/import/", body, content_type="application/x-ndjson")
    assert response.status_code == 400
    assert error in response.json()["error"]
    assert not Product.objects.exists()


UNUSABLE: dict[str, dict[str, Any]] = {
    "a parameter": {"path": "/catalog/?category=%00"},
    "the name of a parameter": {"path": "/catalog/?a%00b=1"},
    "the path": {"path": "/catalog/SKU%00/"},
    "the admin's path": {"path": "/admin/catalog/product/%00/change/"},
    "a header": {"path": "/catalog/", "headers": {"X-Request-ID": "a\0b"}},
    "the session": {"path": "/catalog/", "headers": {"Cookie": r'sessionid="\000"'}},
    "the session, in the admin": {"path": "/admin/", "headers": {"Cookie": r'sessionid="a\000b"'}},
    "another cookie": {"path": "/admin/login/", "headers": {"Cookie": r'csrftoken="\000"'}},
}


@pytest.mark.parametrize("where", UNUSABLE)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_character_that_cannot_be_stored_is_refused(where: str, accept: str) -> None:
    asked = UNUSABLE[where]
    headers = asked.get("headers", {}) | {"Accept": accept}
    response = Client().get(asked["path"], headers=headers)
    assert response.status_code == 400
    reason = response.json()["error"] if accept == "application/json" else response.text
    assert "NUL character" in reason


@pytest.mark.parametrize(
    "charset",
    ["base64", "undefined", "idna", "rot13", "punycode", "hex", "none-such", "utf-16", "'a", "*=utf-8''a%00b"],
)
def test_a_charset_that_is_none_of_text_counts_as_none(charset: str) -> None:
    """Django reads it while it makes the request, before any middleware."""
    environ: dict[str, Any] = {"PATH_INFO": "/catalog/", "QUERY_STRING": "q=%ff", "HTTP_HOST": "testserver"}
    environ["CONTENT_TYPE"] = f"text/plain; charset{charset if charset.startswith('*') else '=' + charset}"
    setup_testing_defaults(environ)
    statuses: list[str] = []
    response = readable(WSGIHandler())(environ, lambda status, _: statuses.append(status))
    b"".join(response)
    assert statuses == ["200 OK"]


@pytest.mark.parametrize("path", ["/catalog/", "/none/", "/admin/login/", "/catalog/export.json"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_every_body_is_read_to_its_end(client: Client, settings: Settings, path: str, content_type: str) -> None:
    """uWSGI resets the connection on an unread one, and nginx turns whatever was answered into a 502."""

    class Counting:
        left = 3 * 2**20

        def read(self, size: int = -1) -> bytes:
            count = min(self.left, size if size >= 0 else self.left)
            self.left -= count
            return b"x" * count

        readline = read

    body = Counting()
    response: Any = post(client, path, content_type, body.left, body)
    assert response.status_code < 500
    assert body.left == 0
