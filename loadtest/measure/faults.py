"""The faults of `make soak`: what is done to a stack of the local runtime, and what each of them may cost.

The clients that do harm have addresses of their own (127.0.0.2 and on), because nginx limits the requests of one
address, and the clients of the load must not be refused in their place.
"""

import os
import random
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from loadtest.load import scenarios
from loadtest.measure.runtimes import STATE, Local
from lowtide import application, sample

# How long the faults that are no single moment take, in seconds.
LASTS_S = 6.0


@dataclass(frozen=True)
class Target:
    """The stack to which the faults are done. `draw` decides what they leave to chance."""

    runtime: Local
    scenario: scenarios.Scenario
    seed: int
    draw: random.Random

    @property
    def nginx_pid(self) -> int:
        return int((self.runtime.folder / "run/nginx.pid").read_text())

    def supervise(self, verb: str) -> None:
        self.runtime.run(["supervisorctl", "-c", "stack/supervisord.conf", verb, "uwsgi"])

    def connect(self, client: int) -> socket.socket:
        """A connection from the client's own address of loopback."""
        place = urlsplit(self.runtime.url)
        return socket.create_connection(
            (place.hostname or "", place.port or 80), timeout=30, source_address=(f"127.0.0.{client}", 0)
        )

    def head(self, call: application.Call, length: int, more: str = "") -> bytes:
        """The first lines of a request with a body of this length, without the empty line that ends them."""
        headers = {"Host": "127.0.0.1", "Content-Length": str(length)} | application.headers(call, os.environ)
        lines = [
            f"{call.method} {call.path.split('{')[0]} HTTP/1.1",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return ("\r\n".join(lines) + "\r\n" + more).encode()

    @property
    def page(self) -> application.Call:
        return application.Call(path=scenarios.described().page)

    @property
    def largest(self) -> tuple[application.Call, bytes]:
        """The request with the largest body of the load."""
        size = max(self.scenario.sizes)
        rows = scenarios.loadtest().requests
        bodies = [(row, scenarios.body(row, self.scenario, self.seed, STATE, size)) for row in rows]
        return max(bodies, key=lambda pair: len(pair[1]))


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        does: what happens, for the table.
        act: does it, and returns when it is over.
        loses: how many requests of the load it may cut off each time; the rest is served or told to come back.
    """

    name: str
    does: str
    act: Callable[[Target], None]
    loses: int = 0


@contextmanager
def at_once(clients: int, act: Callable[[int], None]) -> Iterator[None]:
    """Run `act` with the numbers 0 to clients - 1, each in a thread, and wait at the end until all have ended."""

    def run(client: int) -> None:
        # The stack may refuse or cut off a client that does harm.
        with suppress(OSError):
            act(client)

    threads = [threading.Thread(target=run, args=(client,), daemon=True) for client in range(clients)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(60)


def kill_worker(target: Target) -> None:
    workers = sample.uwsgi(target.runtime.stats_socket).workers
    target.runtime.kill_workers([target.draw.choice(workers)])


def kill_master(target: Target) -> None:
    target.runtime.kill_workers([target.runtime.server_pid()])


def hang_up(target: Target) -> None:
    os.kill(target.runtime.server_pid(), signal.SIGHUP)


def restart(target: Target) -> None:
    target.supervise("restart")


def reload_nginx(target: Target) -> None:
    for _ in range(3):
        os.kill(target.nginx_pid, signal.SIGHUP)
        time.sleep(1)


def slow_clients(target: Target) -> None:
    """Half headers, bodies that come byte by byte, and answers that nobody reads."""
    call, _ = target.largest
    end = time.monotonic() + LASTS_S
    beginnings = [
        target.head(target.page, 0),
        target.head(call, 2_000_000, "\r\n"),
        target.head(target.page, 0, "\r\n"),
    ]

    def drip(client: int) -> None:
        with target.connect(2) as connection:
            connection.sendall(beginnings[client % 3])
            while time.monotonic() < end:
                if client % 3 == 1:
                    connection.sendall(b"x")
                time.sleep(0.5)

    with at_once(60, drip):
        pass


def huge_bodies(target: Target) -> None:
    """The largest body of the load eight times at once, and bodies that are too large."""
    call, body = target.largest

    def send(client: int) -> None:
        with target.connect(3) as connection:
            if client < 8:
                connection.sendall(target.head(call, len(body), "\r\n") + body)
            else:
                connection.sendall(target.head(call, 2**31, "\r\n"))
            connection.recv(1)

    with at_once(12, send):
        pass


def crowd(target: Target) -> None:
    """Far more clients than the workers can serve."""
    end = time.monotonic() + LASTS_S
    request = target.head(target.page, 0, "\r\n")

    def ask(client: int) -> None:
        while time.monotonic() < end:
            with target.connect(4 + client % 4) as connection:
                connection.sendall(request)
                connection.recv(1)

    with at_once(150, ask):
        pass


def impatient_clients(target: Target) -> None:
    request = target.head(target.page, 0, "\r\n")
    with ExitStack() as connections:
        for _ in range(100):
            connections.enter_context(target.connect(8)).sendall(request)


def lock_database(target: Target) -> None:
    """Another writer holds SQLite's lock, and longer than a request that writes would like."""
    with closing(sqlite3.connect(target.runtime.database, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(LASTS_S)
        other.execute("ROLLBACK")


def block_log(target: Target) -> None:
    """Whoever reads the log stops, while requests write long lines into it."""
    reader = int((target.runtime.folder / "run/supervisord.pid").read_text())
    os.kill(reader, signal.SIGSTOP)
    try:
        missing = target.head(application.Call(path=f"/{'x' * 6000}"), 0, "Connection: close\r\n\r\n")

        def ask(_: int) -> None:
            for _ in range(20):
                with target.connect(9) as connection:
                    connection.sendall(missing)
                    connection.recv(1)

        with at_once(4, ask):
            pass
        time.sleep(LASTS_S)
    finally:
        os.kill(reader, signal.SIGCONT)


def all_faults(clients: int) -> list[Fault]:
    """Every kind of fault, for a load of `clients`, each of which has at most one request under way."""
    return [
        Fault("worker", "a worker killed", kill_worker, loses=1),
        # The kernel also cuts off the requests that wait in the queue of a server that is killed.
        Fault("master", "uWSGI's master killed", kill_master, loses=clients),
        Fault("sighup", "SIGHUP to uWSGI's master", hang_up),
        Fault("restart", "uWSGI stopped and started again", restart),
        Fault("nginx", "nginx reloaded three times", reload_nginx),
        Fault("slow", "60 slow clients", slow_clients),
        Fault("bodies", "eight of the largest bodies at once, four that are too large", huge_bodies),
        Fault("crowd", "150 clients that ask again and again", crowd),
        Fault("leave", "100 clients that leave before they are served", impatient_clients),
        Fault("database", "the database locked by another writer", lock_database),
        Fault("log", "the log's reader stopped", block_log),
    ]


def order(faults: list[Fault], draw: random.Random) -> Iterator[Fault]:
    """All faults in a random order, then again in another, without end."""
    while True:
        yield from draw.sample(faults, len(faults))
