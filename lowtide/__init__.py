"""Lowtide's runtime: it gives memory back in a server process, replaces workers that keep it, and says why.

A server uses it through an adapter, one line in its configuration: `lowtide.uwsgi`, `lowtide.gunicorn.give_back`, or
`lowtide.wsgi.give_back` and `lowtide.asgi.give_back` for any other server. `lowtide.django` has what is for Django. The
adapters use:

    GiveBack       call it after each request: it gives heap back to the kernel when the process has grown
    Unavailable    raised where that is impossible; the message says why
    memory         how much a process, its children and its container use, read from Linux

The runtime needs only the standard library. `lowtide.tools` is for developers, and the runtime never imports it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide import memory
    from lowtide.give_back import GiveBack, Unavailable

# pyproject.toml reads the version here, and a test compares the images' labels with it.
__version__ = "0.1.0"
__all__ = ["GiveBack", "Unavailable", "__version__", "memory"]


def __getattr__(name: str) -> object:
    """Import what is asked for. A health check, which is a new process every few seconds, asks for nothing."""
    if name == "memory":
        return importlib.import_module("lowtide.memory")
    if name in __all__:
        return getattr(importlib.import_module("lowtide.give_back"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
