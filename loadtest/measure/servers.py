"""Servers other than the shipped uWSGI: how they are started in the local runtime, and what their logs say."""

import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from loadtest.measure import allocators
from loadtest.measure.runtimes import CannotMeasure, Runtime
from loadtest.measure.variants import Variant
from lowtide import memory

COMMANDS = {
    "gunicorn": "gunicorn --config loadtest/measure/peers/gunicorn.conf.py config.wsgi:application",
    "granian": "loadtest/measure/peers/granian",
}
# What each server logs of workers that it replaces, and the reason that it is.
REASONS = (
    (re.compile(r"Autorestarting worker after current request"), "requests"),
    (re.compile(r"worker-\d+ RSS over threshold"), "rss"),
    (re.compile(r"worker-\d+ lifetime expired"), "lifetime"),
    (re.compile(r"WORKER TIMEOUT"), "hung"),
    (re.compile(r"Worker \(pid:\d+\) was sent|Unexpected exit from worker-\d+"), "died"),
)
WORKER_PID = re.compile(r"\(pid:(\d+)\)")
LINE = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\] \[(\d+)\] \[\w+\] (.*)")


def environment(variant: Variant) -> dict[str, str]:
    """The variables that start the stack as this variant.

    Raises:
        CannotMeasure: it needs a library that is not here and cannot be installed.
    """
    found = dict(variant.environment)
    alone = dict(variant.malloc)
    if variant.preload:
        alone["LD_PRELOAD"] = allocators.installed(variant.preload)
    if variant.server != "uwsgi":
        found |= {"SERVER_COMMAND": COMMANDS[variant.server], "PROTOCOL": "http"}
        alone["PEER"] = variant.peer
    if alone:
        found["SERVER_VARIABLES"] = " ".join(f"{name}={value}" for name, value in alone.items())
    return found


def described(variant: Variant, uwsgi: str) -> str:
    """The server and its version, and what stands in for its allocator."""
    if variant.preload:
        return f"uWSGI {uwsgi} with {allocators.described(variant.preload)}"
    return f"uWSGI {uwsgi}" if variant.server == "uwsgi" else f"{variant.server} {version(variant.server)}"


def pid(runtime: Runtime) -> int:
    """The server's first process, in the local runtime."""
    return int(runtime.run(["supervisorctl", "-c", "stack/supervisord.conf", "pid", "uwsgi"]))


def check_preloaded(name: str, pid: int) -> None:
    """See that the server's processes have mapped lib<name>.so.

    Raises:
        CannotMeasure: one of them has not; the dynamic linker only warns.
    """
    for process in memory.tree(pid):
        if f"/lib{name}.so" not in Path(f"/proc/{process}/maps").read_text():
            raise CannotMeasure(f"{name} was to stand in for malloc, but process {process} has not loaded it.")


def recycled(lines: list[str], since: float) -> list[tuple[float, str, str]]:
    """What gunicorn or granian logged of workers that were replaced: time (whole Unix seconds), reason, the line."""
    found = []
    hung: set[str] = set()
    for line in lines:
        if not (match := LINE.match(line)):
            continue
        time = datetime.strptime(match[1], "%Y-%m-%d %H:%M:%S %z").timestamp()
        reason = next((reason for pattern, reason in REASONS if pattern.search(match[3])), None)
        # gunicorn logs the end of a worker that it killed for hanging as well.
        worker = WORKER_PID.search(match[3])
        if reason == "hung" and worker:
            hung.add(worker[1])
        elif worker and worker[1] in hung:
            continue
        if reason and time >= int(since):
            found.append((time, reason, f"pid {match[2]}: {match[3]}"))
    return found
