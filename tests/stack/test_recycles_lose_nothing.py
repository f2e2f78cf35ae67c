"""Workers are replaced again and again, for each reason, under small requests, uploads and large requests."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from loadtest.measure import recycles
from tests.stack.edge import Edge

pytestmark = pytest.mark.stack
# The options and variables with which workers are replaced for a reason, as often as it goes.
WAYS = {
    "requests": (("--max-requests", "5"), {}),
    # An idle worker is larger than this, so each is replaced after each request.
    "rss": ((), {"RELOAD_ON_RSS": "1"}),
    "lifetime": (("--max-worker-lifetime", "1", "--max-worker-lifetime-delta", "0"), {"WORKERS": "12"}),
    # Worker N waits for a second longer than worker N + 1, so there is at most one of them a second.
    "idle": ((), {"WORKERS": "12", "LARGE_WORKERS": "10", "LARGE_IN_FLIGHT": "64"}),
    # Each hangs in its exit until it is killed.
    "mercy": (("--max-requests", "5"), {"WORKERS": "16", "LARGE_WORKERS": "4", "HANG_AT_EXIT": "1"}),
}
# No worker logs "mercy": it had another reason to end, and was killed because it did not.
LOGGED = {"mercy": "requests"}


def replaced(stack: Edge) -> Counter[str]:
    return Counter(end["reason"] for end in recycles.uwsgi_lines(stack.log("uwsgi").splitlines()))


NIGHT = [pytest.mark.night, pytest.mark.timeout(11000)]


@pytest.mark.parametrize(
    ("reason", "times"),
    [
        *[(reason, 5) for reason in WAYS],
        *[pytest.param(reason, 1000, marks=NIGHT) for reason in WAYS],
    ],
)
def test_no_request_is_lost(edge: Callable[..., Edge], reason: str, times: int) -> None:
    options, settings = WAYS[reason]
    stack = edge(*options, **settings)
    over = False
    answers: Counter[object] = Counter()

    def ask(send: Callable[[], requests.Response]) -> None:
        while not over:
            try:
                answers[send().status_code] += 1
            except requests.RequestException as error:
                answers[repr(error)] += 1
            time.sleep(0.005)

    def small() -> requests.Response:
        return stack.get("/?sleep=0.005")

    def upload() -> requests.Response:
        return requests.post(stack.url, data=b"x" * 50_000, timeout=90)

    def burst() -> requests.Response:
        """One large request for each worker, and then the pause that they need to be idle."""
        with ThreadPoolExecutor(10) as pool:
            *_, last = pool.map(lambda _: stack.large("/?pierce=24&sleep=0.5"), range(10))
        time.sleep(9)
        return last

    large = burst if reason == "idle" else stack.large
    clients = [small, small, small, upload, large]
    with ThreadPoolExecutor(len(clients)) as pool:
        asking = [pool.submit(ask, send) for send in clients]
        deadline = time.monotonic() + times * 10 + 60
        try:
            while replaced(stack)[LOGGED.get(reason, reason)] < times and time.monotonic() < deadline:
                # Each look reads the whole log, in the process that also sends the requests.
                time.sleep(2 if times > 5 else 0.2)
        finally:
            over = True
        for one in asking:
            one.result()
    print(f"{reason}: {dict(replaced(stack))}, answers {dict(answers)}")
    assert replaced(stack)[LOGGED.get(reason, reason)] >= times
    assert set(answers) == {200}
