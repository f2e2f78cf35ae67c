"""A database that is away, or that accepts and then keeps silent, costs a request a bounded time.

PostgreSQL's own timeouts are kept by the server, so they do not help against one that has stalled, and those of TCP do
not either: the kernel of a stalled server still acknowledges. Here the client looks at its watch too.

OPTIONS may hold `timeout_s`: how long a statement may take (statement_timeout); without it nothing is bounded, as
migrations need it. With CONN_HEALTH_CHECKS a stalled server is found out before the first statement of a request. Once
a process has found the database away, it asks nobody for AWAY_S and answers at once.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.waiting import Ready

# The client waits so much longer than the server may take: the server's own answer says more.
MORE_S = 5
# How long the question whether a connection still works may take.
PING_S = 3
AWAY_S = 5
# What a connection is made with, unless OPTIONS says otherwise.
DEFAULTS = {
    # Seconds until a server that does not answer counts as away.
    "connect_timeout": 3,
    # Milliseconds until what nobody acknowledges ends the connection: the server's machine is gone.
    "tcp_user_timeout": 10_000,
    # The same in seconds, for a connection on which nothing is sent.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Wait:
    """A connection's `wait`, which every answer of the server passes, with a bound in seconds."""

    def __init__(self, connection: Any, silence_s: float) -> None:
        self.silence_s = silence_s
        self._connection = connection
        self._wait = connection.wait

    def __call__(self, answer: Generator[Any, Any, Any], *words: Any, **more: Any) -> Any:
        return self._wait(self._bounded(answer), *words, **more)

    def _bounded(self, answer: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + self.silence_s
        try:
            wanted = next(answer)
            while True:
                # Ten times a second with nothing ready.
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > until:
                    self._connection.pgconn.finish()
                    DatabaseWrapper.is_away()
                    raise psycopg.OperationalError(f"the server has been silent for {self.silence_s:g} s")
                wanted = answer.send(ready)
        except StopIteration as end:
            return end.value


class DatabaseWrapper(base.DatabaseWrapper):
    # Until when nobody in this process asks for a connection.
    _away_until = float("-inf")

    @staticmethod
    def is_away() -> None:
        DatabaseWrapper._away_until = time.monotonic() + AWAY_S

    def get_connection_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super().get_connection_params()
        if timeout_s := params.pop("timeout_s", 0):
            options = f"{params.get('options', '')} -c statement_timeout={timeout_s}s".strip()
            params = DEFAULTS | params | {"options": options}
        return params

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        timeout_s = self.settings_dict["OPTIONS"].get("timeout_s", 0)
        if not timeout_s:
            return super().get_new_connection(conn_params)
        if time.monotonic() < self._away_until:
            raise psycopg.OperationalError("the database was away a moment ago")
        try:
            connection: Any = super().get_new_connection(conn_params)
        except psycopg.OperationalError:
            self.is_away()
            raise
        connection.wait = Wait(connection, timeout_s + MORE_S)
        return connection

    def is_usable(self) -> bool:
        wait = getattr(self.connection, "wait", None)
        if not isinstance(wait, Wait):
            return bool(super().is_usable())
        usual_s, wait.silence_s = wait.silence_s, PING_S
        try:
            return bool(super().is_usable())
        finally:
            wait.silence_s = usual_s
