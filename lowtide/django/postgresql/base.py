"""Limits the time that a request loses when the database is down, or accepts a connection and does not answer.

PostgreSQL's own timeouts run in the server, so they do not help when the server has stalled. Those of TCP do not help
either, because the kernel of a stalled server still acknowledges what it receives. So the client measures the time too.

OPTIONS may contain `timeout_s`: how many seconds a statement may take (statement_timeout). Without it there is no
limit, which is what migrations need. With CONN_HEALTH_CHECKS a stalled server is noticed before a request's first
statement. When a process has noticed that the database is down, it does not try to connect for AWAY_S seconds and
fails at once.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg.waiting import Ready

# The client waits longer than the server may take, by these seconds, because the server's own error says more.
MORE_S = 5
# Seconds that the check whether a connection still works may take.
PING_S = 3
AWAY_S = 5
# Parameters of each connection, unless OPTIONS has others.
DEFAULTS = {
    # Seconds until a server that does not answer counts as down.
    "connect_timeout": 3,
    # Milliseconds after which the connection ends when sent data is not acknowledged, as when the machine is gone.
    "tcp_user_timeout": 10_000,
    # The same in seconds, for a connection on which nothing is sent.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class Wait:
    """Replaces a connection's `wait`, through which all answers of the server come, by one with a time limit."""

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
                # psycopg resumes this ten times a second, with Ready.NONE when nothing has arrived.
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > until:
                    self._connection.pgconn.finish()
                    DatabaseWrapper.is_away()
                    raise psycopg.OperationalError(f"the server has been silent for {self.silence_s:g} s")
                wanted = answer.send(ready)
        except StopIteration as end:
            return end.value


class DatabaseWrapper(base.DatabaseWrapper):
    # Until then (monotonic clock) this process does not try to connect.
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
