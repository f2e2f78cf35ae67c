"""What Locust runs: users that send the scenario's fixed list of requests, lane by lane, at the scenario's rates.

    locust -f loadtest/load/locustfile.py --host http://127.0.0.1:8080

Environment: LOWTIDE_SCENARIO (default, quick, article), LOWTIDE_SEED, LOWTIDE_STREAMING=1 (a request that has a
streaming counterpart is sent as that), LOWTIDE_REQUEST_LOG (a CSV file with a row for each request, optional), and the
variables of app/lowtide.toml, which headers name. With several Locust processes (`--processes`, or master and workers
with `--expect-workers`) each sends its share of the list, and together they keep the same rates. A worker whose share
is done says so in its reports and stays, and the master ends the test when all have said so. If a worker left by
itself, Locust would start its users again on the other workers.
"""

import io
import itertools
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gevent
from locust import FastHttpUser, events, task
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from loadtest.load import requests_log, scenarios
from loadtest.load.live import listeners
from lowtide import application

SCENARIO = scenarios.named(os.environ.get("LOWTIDE_SCENARIO", "default"))
SEED = int(os.environ.get("LOWTIDE_SEED", "1"))
STREAMING = os.environ.get("LOWTIDE_STREAMING") == "1"
FOLDER = Path(os.environ.get("LOWTIDE_FEEDS", "var/loadtest"))
PIECE_BYTES = 128 * 1024


class Share:
    """This process's part of the list, drawn from by all its users."""

    def __init__(self) -> None:
        self.lanes: dict[str, Iterator[scenarios.Asked]] = {}
        self.users: Counter[str] = Counter()
        # When a request is due follows from its place in the list and the rate, however long the answers before it
        # take. After a server was slow, the requests that are overdue are sent as fast as users become free.
        self.paces: dict[str, Iterator[float]] = {}

    @property
    def done(self) -> bool:
        """Whether users have begun and all of them have found nothing left to ask."""
        return bool(self.users) and self.users.total() == 0

    def next(self, lane: scenarios.Lane, environment: Environment) -> scenarios.Asked:
        """The next request of the lane, or of one that has no user in this process; StopIteration when all are done."""
        index, count = position(environment)
        for name in (lane, *(other for other in scenarios.LANES if not self.users[other])):
            if name not in self.lanes:
                self.lanes[name] = iter(list(scenarios.requests(SCENARIO, name, SEED, STREAMING))[index::count])
            for asked in self.lanes[name]:
                return asked
        raise StopIteration

    def due(self, lane: scenarios.Lane, rate: float, environment: Environment) -> requests_log.Due:
        """When the next request of the lane is due in this process; each call takes one."""
        index, count = position(environment)
        now = time.time()
        if lane not in self.paces:
            self.paces[lane] = itertools.count(now + index / rate, count / rate)
        due = next(self.paces[lane])
        return requests_log.Due(due, pushed_back=due < now)


SHARE = Share()


def position(environment: Environment) -> tuple[int, int]:
    """Which process this is, and of how many."""
    if not isinstance(environment.runner, WorkerRunner):
        return 0, 1
    return environment.runner.worker_index, processes(environment)


def processes(environment: Environment) -> int:
    """How many Locust processes share the list."""
    return max(1, environment.parsed_options.expect_workers) if environment.parsed_options else 1


def finish(environment: Environment) -> None:
    """End the test, because the list is done. With the web page Locust stays for another run, else it exits."""
    if environment.runner and environment.web_ui:
        environment.runner.stop()
    elif environment.runner:
        environment.runner.quit()


@events.init.add_listener  # type: ignore[untyped-decorator]
def share_out(environment: Environment, **_: Any) -> None:
    for user in (SmallUser, LargeUser):
        user.fixed_count = user.users(environment)
    # Without --users Locust would start a single user, which sends the list at a tenth of its rate.
    if (options := environment.parsed_options) and options.num_users is None:
        options.num_users = options.spawn_rate = SmallUser.fixed_count + LargeUser.fixed_count
    if path := os.environ.get("LOWTIDE_REQUEST_LOG"):
        requests_log.Log(path).register(environment)
    listeners.register(environment)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def start_over(**_: Any) -> None:
    SHARE.lanes.clear()
    SHARE.users.clear()
    SHARE.paces.clear()


@events.report_to_master.add_listener  # type: ignore[untyped-decorator]
def say_done(data: dict[str, Any], **_: Any) -> None:
    data["share_done"] = SHARE.done


@events.init.add_listener  # type: ignore[untyped-decorator]
def end_with_the_last_share(environment: Environment, **_: Any) -> None:
    if not isinstance(master := environment.runner, MasterRunner):
        return
    done: dict[str, bool] = {}

    def hear(client_id: str, data: dict[str, Any], **_: Any) -> None:
        done[client_id] = data["share_done"]
        at_work = (*master.clients.spawning, *master.clients.running)
        if done[client_id] and all(done.get(worker.id) for worker in at_work):
            gevent.spawn(finish, environment)

    environment.events.worker_report.add_listener(hear)  # type: ignore[no-untyped-call]


class LaneUser(FastHttpUser):
    """A user that sends requests of its lane's list. It stops when the list is done; the last user ends the test."""

    abstract = True
    lane: ClassVar[scenarios.Lane]
    most: ClassVar[int]
    rate: ClassVar[float]
    due: requests_log.Due
    network_timeout = 65
    connection_timeout = 5

    def on_start(self) -> None:
        SHARE.users[self.lane] += 1
        gevent.sleep(self.wait_time())

    @classmethod
    def users(cls, environment: Environment) -> int:
        """How many work off this lane, over all processes."""
        return max(cls.most, processes(environment))

    def wait_time(self) -> float:
        """Seconds until the request that this user asks next."""
        self.due = SHARE.due(self.lane, self.rate, self.environment)
        return max(0.0, self.due.time - time.time())

    @task
    def next_request(self) -> None:
        try:
            asked = SHARE.next(self.lane, self.environment)
        except StopIteration:
            SHARE.users[self.lane] -= 1
            if SHARE.done and not isinstance(self.environment.runner, WorkerRunner):
                gevent.spawn(finish, self.environment)
            raise StopUser from None
        self.ask(asked)

    def ask(self, asked: scenarios.Asked) -> None:
        """A request whose answer must have the expected status.

        The body and the answer of a large one are sent and read piece by piece: 30 MB in one piece would keep all other
        users of this process waiting for 0.15 s.
        """
        large = asked.row.lane == "large"
        body = BODIES[asked.call.make_body or asked.call.body, asked.size]
        began = time.perf_counter()
        with self.client.request(
            asked.call.method,
            asked.path,
            name=f"{asked.row.lane}: {asked.name}",
            headers={"Accept-Encoding": "identity"} | application.headers(asked.call, os.environ),
            data=Body(body) if body else None,  # type: ignore[arg-type]
            stream=large,
            catch_response=True,
            context={"due": self.due},
            allow_redirects=False,
        ) as response:
            if large and not self.received(response, began):
                return
            # Status 0 means that there was no answer; Locust has noted why. A status of 400 or more counts as failed in
            # Locust, so one that is expected has to be called a success.
            if response.status_code not in (0, asked.call.status):
                response.failure(f"answered {response.status_code} instead of {asked.call.status}")
            elif response.status_code >= 400:
                response.success()

    def received(self, response: Any, began: float) -> bool:
        """Receive a large answer; whether all of it came."""
        length, whole = 0, True
        try:
            while response.status_code and (piece := response.read(PIECE_BYTES)):
                length += len(piece)
                gevent.sleep(0)
        except FAILURE_EXCEPTIONS as error:
            response.failure(error)
            whole = False
        took_ms = (time.perf_counter() - began) * 1000
        response.request_meta.update(response_length=length, response_time=took_ms)
        return whole


class Body(io.BytesIO):
    """What is sent with a request, piece by piece, so that other users have their turns meanwhile."""

    def __len__(self) -> int:
        return len(self.getbuffer())

    def read(self, _size: int | None = -1) -> bytes:
        gevent.sleep(0)
        return super().read(PIECE_BYTES)


def bodies() -> dict[tuple[str, int], bytes]:
    """The bodies of all requests, by what they are made of and their size."""
    calls = [row.streamed if STREAMING and row.streamed else row for row in scenarios.loadtest().requests]
    return {
        (call.make_body or call.body, size): scenarios.body(call, SCENARIO, SEED, FOLDER, size)
        for call in calls
        for size in {1, *(SCENARIO.sizes if call.make_body else ())}
    }


BODIES = bodies()


class SmallUser(LaneUser):
    lane = "small"
    most = SCENARIO.small_users
    rate = SCENARIO.small_rate
    fixed_count = most


class LargeUser(LaneUser):
    lane = "large"
    most = SCENARIO.large_users
    rate = SCENARIO.large_rate
    fixed_count = most
