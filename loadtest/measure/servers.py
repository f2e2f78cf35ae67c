"""Servers other than the shipped uWSGI: how they are started in the local runtime."""

from importlib.metadata import version

from loadtest.measure import CannotMeasure, allocators
from loadtest.measure.runtimes import Runtime
from loadtest.measure.variants import Variant
from lowtide import memory

COMMANDS = {
    "gunicorn": "gunicorn --config loadtest/measure/peers/gunicorn.conf.py",
    "granian": "loadtest/measure/peers/granian",
}


def environment(variant: Variant) -> dict[str, str]:
    """The variables that start the stack as this variant.

    Raises:
        CannotMeasure: it needs a library that is not here and cannot be installed.
    """
    variables = dict(variant.environment)
    alone = dict(variant.malloc)
    if variant.preload:
        alone["LD_PRELOAD"] = allocators.installed(variant.preload)
    if variant.server != "uwsgi":
        variables |= {"SERVER_COMMAND": COMMANDS[variant.server], "PROTOCOL": "http"}
        alone["PEER"] = variant.peer
    if alone:
        variables["SERVER_VARIABLES"] = " ".join(f"{name}={value}" for name, value in alone.items())
    return variables


def described(variant: Variant, uwsgi: str) -> str:
    """The server and its version, and the allocator where it is not glibc's."""
    if variant.preload:
        return f"uWSGI {uwsgi} with {allocators.described(variant.preload)}"
    return f"uWSGI {uwsgi}" if variant.server == "uwsgi" else f"{variant.server} {version(variant.server)}"


def pid(runtime: Runtime) -> int:
    """The server's first process, in the local runtime."""
    return int(runtime.run(["supervisorctl", "-c", "stack/supervisord.conf", "pid", "uwsgi"]))


def check_preloaded(name: str, pid: int) -> None:
    """Check that the server's processes have loaded lib<name>.so.

    Raises:
        CannotMeasure: one of them has not. The dynamic linker only warns and starts the process without the library.
    """
    for process in memory.tree(pid):
        if f"/lib{name}.so" not in memory.mapped(process):
            raise CannotMeasure(f"{name} was to stand in for malloc, but process {process} has not loaded it.")
