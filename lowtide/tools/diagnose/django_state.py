"""What Django says of itself, where the measured application has loaded it, of any version from 3.2."""

import sys
from typing import Any


def debug() -> bool:
    """Whether the settings say DEBUG."""
    return _configured() and bool(sys.modules["django.conf"].settings.DEBUG)


def initialized(module: str, name: str) -> list[Any]:
    """The connections of such a handler, django.db's `connections` for example, that this thread has made so far.

    The handlers' own `all` makes those that are missing, and cannot be told not to before Django 4.1.
    """
    if module not in sys.modules or not _configured():
        return []
    handler = getattr(sys.modules[module], name)
    made = (getattr(handler._connections, alias, None) for alias in handler)
    return [connection for connection in made if connection is not None]


def _configured() -> bool:
    return "django.conf" in sys.modules and bool(sys.modules["django.conf"].settings.configured)


def places() -> str:
    """A sentence that says where the application writes."""
    if not _configured():
        return "it is not known where this application writes, because it has no Django settings"
    try:
        from lowtide.django.stores import all_stores

        stores = [f"{store.kind} {store.name}" for store in all_stores()]
    except Exception as error:
        return f"where this application writes could not be read from its settings ({type(error).__name__}: {error})"
    return f"this application writes to: {', '.join(stores) or 'nothing that its settings name'}"
