"""Large requests that are admitted by memory, and requests that small workers hand to the large pool."""

import hashlib
import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from lowtide import ledger
from tests.stack.conftest import PLANTED, Stack, Start
from tests.stack.edge import wait_until

pytestmark = pytest.mark.stack
LARGE_BODY = 1_200_000


def order(stack: Stack, mb: int, body: bytes, method: str = "POST") -> requests.Response:
    return requests.request(method, f"{stack.url}/order/{mb}/{len(body)}/", data=body, timeout=60)


def orders(stack: Stack) -> list[list[Any]]:
    """What the application ran: request id, method, pid, MiB, begin and end."""
    file = stack.var / "run/orders"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(stack: Stack, count: int) -> None:
    """A request is entered and its kind is learned after its answer was sent, and then its worker is idle."""

    def entered() -> bool:
        routes, _ = ledger.read(stack.var / "run/ledger")
        return sum(row.count for row in routes if "order" in row.route) >= count

    wait_until(
        f"{count} requests are entered and learned",
        lambda: entered() and all(worker["status"] == "idle" for worker in stack.workers()),
    )


def busy(stack: Stack) -> list[int]:
    """The pids of the large workers that serve a request."""
    return [worker["pid"] for worker in stack.workers()[-2:] if worker["status"] == "busy"]


def test_large_requests_run_at_once_where_they_fit(start: Start) -> None:
    """60 MiB and 20 MiB fit into the budget of 100, and twice 60 does not."""
    stack = start(APP_DIR=str(PLANTED), LARGE_WORKERS="2", LARGE_IN_FLIGHT="16", ADMISSION="100", LARGE_NEED_MB="90")
    # Numbers in paths do not make a kind of their own, sizes of bodies do.
    bodies = {60: bytes(3 * LARGE_BODY), 20: bytes(LARGE_BODY)}
    sizes = [60, 20] * 12
    for count, mb in enumerate(bodies, 1):
        assert order(stack, mb, bodies[mb]).status_code == 200
        wait_for(stack, count)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda mb: order(stack, mb, bodies[mb]).status_code, sizes))
    assert answers == [200] * len(sizes)
    run = orders(stack)
    at_once = [
        sum(mb for *_, mb, other_began, other_ended in run if other_began <= began < other_ended)
        for *_, began, _ in run
    ]
    assert len(run) == len(sizes) + 2
    # There are two large workers. They may run 20 beside 20 or 60, and never 60 beside 60.
    assert max(at_once) == 80


def test_a_request_that_finds_no_room_is_told_to_come_back(start: Start) -> None:
    stack = start(APP_DIR=str(PLANTED), LARGE_WORKERS="2", ADMISSION="100", LARGE_NEED_MB="90", QUEUE_S="1")
    body = bytes(LARGE_BODY)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(requests.post, f"{stack.url}/hang", data=body, timeout=60)
        wait_until("it runs", lambda: len(busy(stack)) == 1)
        (hanging,) = busy(stack)
        refused = order(stack, 20, body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        stack.local.kill([hanging])
        assert running.result().status_code == 502
    # What the killed worker had reserved is free.
    assert order(stack, 20, body).status_code == 200


def test_what_small_workers_hand_on_runs_once_with_its_body(start: Start) -> None:
    stack = start(APP_DIR=str(PLANTED), LEARN_ROUTES="1", LARGE_IN_FLIGHT="32")
    draw = random.Random(1)  # noqa: S311 - repeatable, not secret
    methods = ("POST", "PUT", "PATCH", "DELETE")
    bodies = [draw.randbytes(100_000) for _ in range(40)]
    for count in range(8):
        assert order(stack, 40, bodies[count], methods[count % 4]).status_code == 200
        wait_for(stack, count + 1)
    large = stack.workers()[-1]["pid"]
    assert large not in {pid for _, _, pid, *_ in orders(stack)}

    def ask(number: int) -> tuple[requests.Response, str]:
        if number % 2:
            return stack.get(f"/item/{number}/"), ""
        method = methods[number // 2 % 4]
        return order(stack, 40, bodies[number // 2], method), method

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(2 * len(bodies))))
    assert Counter(answer.status_code for answer, _ in answers) == {200: 2 * len(bodies)}
    run = {request: (method, pid) for request, method, pid, *_ in orders(stack)}
    assert len(orders(stack)) == len(run) == 8 + len(bodies)
    for (answer, method), body in zip(answers[::2], bodies, strict=True):
        assert run[answer.headers["X-Request-ID"]] == (method, large)
        assert answer.text == f"{large} {hashlib.sha256(body).hexdigest()}"
    assert large not in {int(answer.text) for answer, _ in answers[1::2]}
