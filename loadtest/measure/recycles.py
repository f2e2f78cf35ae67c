"""When workers were replaced and why, from the log of the server."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from loadtest.results.types import EventName, Reason

# What gunicorn, uvicorn and granian log when they replace a worker, and the reason that it stands for.
REASONS: tuple[tuple[re.Pattern[str], Reason], ...] = (
    (re.compile(r"Autorestarting worker after current request|Maximum request limit of \d+ exceeded"), "requests"),
    (re.compile(r"worker-\d+ RSS over threshold"), "rss"),
    (re.compile(r"worker-\d+ lifetime expired"), "lifetime"),
    (re.compile(r"WORKER TIMEOUT"), "hung"),
    (re.compile(r"Worker \(pid:\d+\) was sent|Unexpected exit from worker-\d+"), "died"),
)
WORKER_PID = re.compile(r"\(pid:(\d+)\)")
LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[(\d+)\] \[\w+\] (.*)")


@dataclass(frozen=True)
class Event:
    """A phase that began or ended, or a worker that was replaced or killed. `time` in Unix seconds."""

    time: float
    event: EventName
    worker: int | None = None
    detail: str = ""


def uwsgi_lines(lines: list[str]) -> list[dict[str, Any]]:
    """The recycles in uWSGI's log, as lowtide.uwsgi writes them (lowtide/recycles.py has the keys)."""
    return [json.loads(line) for line in lines if line.startswith('{"event": "recycle"')]


def of_uwsgi(lines: list[str], since: float) -> list[Event]:
    """The recycles in uWSGI's log as events, from `since` on (Unix seconds)."""
    events = []
    for end in uwsgi_lines(lines):
        if end["time"] >= since:
            detail = f"pid {end['pid']}, {end['age_s']:.0f} s, {end['requests']} requests, {end['rss_mb']} MiB"
            events.append(Event(end["time"], end["reason"], end["worker"], detail))
    return events


def of_another_server(lines: list[str], since: float) -> list[Event]:
    """The workers that another server logged as replaced, from `since` on; their logs have whole seconds."""
    events = []
    hung: set[str] = set()
    for line in lines:
        if not (match := LINE.match(line)):
            continue
        time = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S %z").timestamp()
        reason = next((reason for pattern, reason in REASONS if pattern.search(match[3])), None)
        # gunicorn logs a worker that it kills for hanging twice: when it kills it, and when it has ended. Only the
        # first counts.
        worker = WORKER_PID.search(match[3])
        if reason == "hung" and worker:
            hung.add(worker[1])
        elif worker and worker[1] in hung:
            continue
        if reason and time >= int(since):
            events.append(Event(time, reason, None, f"pid {match[2]}: {match[3]}"))
    return events
