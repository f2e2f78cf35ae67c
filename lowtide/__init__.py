"""Lowtide's runtime: it gives memory back in a server process, replaces workers that keep it, and says why.

One line in the configuration of a server is an adapter: `lowtide.uwsgi`, `lowtide.gunicorn.give_back`, or
`lowtide.wsgi.give_back` for any other WSGI server. Django's pieces are in `lowtide.django`. The adapters are made of:

    GiveBack       call it after each request: heap goes back to the kernel when the process has grown
    Unavailable    why that is impossible in this process
    memory         what a process, its children and its container use, read from Linux

Nothing but the standard library is needed. `lowtide.tools` is for a desk, and the runtime never imports it.
"""

from lowtide import memory
from lowtide.give_back import GiveBack, Unavailable

# The one place of the version: pyproject.toml reads it here, and a test compares the images' labels.
__version__ = "0.1.0"
__all__ = ["GiveBack", "Unavailable", "__version__", "memory"]
