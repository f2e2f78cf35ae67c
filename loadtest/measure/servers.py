"""Servers and allocators other than the shipped ones: how they are started, and what they are called."""

import json
import re
from collections.abc import Callable

from loadtest.measure import CannotMeasure, allocators
from loadtest.measure.runtimes import sample_command
from loadtest.measure.variants import Variant

# lowtide.start gives a server the same variables as uWSGI has. The settings of each row are in these files; PEER names
# the row.
GUNICORN = "gunicorn --config loadtest/measure/peers/gunicorn.conf.py"
COMMANDS = {"gunicorn": GUNICORN, "granian": "loadtest/measure/peers/granian", "uvicorn": GUNICORN}
POOLS = "loadtest/measure/peers/gunicorn-pools"
Run = Callable[[list[str]], str]


def environment(variant: Variant, runtime: str = "local") -> dict[str, str]:
    """The variables that start the stack as this variant, in the local runtime or in Docker.

    Raises:
        CannotMeasure: it needs a library that is not here and cannot be installed.
    """
    variables = dict(variant.environment)
    alone = dict(variant.variables)
    if variant.preload:
        alone["LD_PRELOAD"] = (
            allocators.installed(variant.preload) if runtime == "local" else allocators.in_image(variant.preload)
        )
    if variant.server != "uwsgi":
        pools = "LARGE_WORKERS" not in variant.environment
        command = POOLS if pools else COMMANDS[variant.server]
        variables |= {"SERVER_COMMAND": f"python -m lowtide.start {command}", "PROTOCOL": "uwsgi" if pools else "http"}
        alone["PEER"] = variant.name
    if alone:
        variables["SERVER_VARIABLES"] = " ".join(f"{name}={value}" for name, value in alone.items())
    return variables


def described(variant: Variant, uwsgi: str, run: Run) -> str:
    """The server and the allocator, with their versions; `run` runs a command where the server is."""
    if variant.preload:
        return f"uWSGI {uwsgi} with {allocators.described(variant.preload, run)}"
    if variant.server == "uwsgi":
        return f"uWSGI {uwsgi}"
    # "gunicorn (version 27.0.1)", "granian 2.8.7", "Running uvicorn 0.54.0 with CPython 3.13.5 on Linux"
    version = re.search(r"\d[\d.]*\d", run([variant.server, "--version"]))
    return f"{variant.server} {version[0]}" if version else variant.server


def check_preloaded(name: str, pid: int, run: Run) -> None:
    """Check that the server's processes have loaded lib<name>.so.

    Raises:
        CannotMeasure: one of them has not. The dynamic linker only warns and starts the process without the library.
    """
    workers = json.loads(run([*sample_command("", pid), "--once"]))["workers"]
    for process in (pid, *(worker["pid"] for worker in workers)):
        if f"/lib{name}.so" not in run(["cat", f"/proc/{process}/maps"]):
            raise CannotMeasure(f"{name} was to stand in for malloc, but process {process} has not loaded it.")
