"""Where an application writes, as Django has resolved it: databases, caches, mail, files, and services such as brokers.

`manage.py stores` prints it, and the server writes it into RUN_DIR when it loads the application. The experiment reads
both before it sends anything, so that it never writes into data that is not its own. No password is ever in it.
"""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from django.conf import settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.core.mail.backends import console, dummy, filebased, locmem, smtp
from django.db import connections
from django.utils.module_loading import import_string

log = logging.getLogger(__name__)
FILE = "stores.json"
# Addresses that are no store: links, and what the rest of this module answers for.
NO_SERVICE = {"data", "file", "http", "https", "sqlite"}


@dataclass(frozen=True)
class Store:
    """One place that the application can write to.

    Attributes:
        kind: what it is, in words: "database", "cache", ...
        name: what tells it apart from others of its kind; of a file its absolute path.
        place: whether it is a file or behind a host name; "unknown" where its library would have to be asked.
        host: of a place that is a host.
    """

    kind: str
    name: str
    place: Literal["file", "host", "unknown"]
    host: str = ""


def all_stores() -> list[Store]:
    return list(dict.fromkeys((*databases(), *caches(), *mail(), *files(), *services())))


def write() -> None:
    """For whoever started this server: the stores and the time, into RUN_DIR where there is one."""
    folder = os.environ.get("RUN_DIR")
    if not folder or not Path(folder).is_dir():
        return
    unfinished = Path(folder) / f"{FILE}.{os.getpid()}"
    try:
        unfinished.write_text(json.dumps({"time": time.time(), "stores": [asdict(store) for store in all_stores()]}))
        unfinished.replace(Path(folder) / FILE)
    except Exception:
        # Whoever needs the answer refuses without it; the site is to start all the same.
        log.exception("Where this application writes could not be said")


def file(kind: str, path: str | os.PathLike[str]) -> Store:
    return Store(kind, str(Path(path).resolve()), "file")


def databases() -> Iterator[Store]:
    for alias in connections:
        database = connections[alias]
        if database.vendor == "sqlite":
            path = str(database.get_connection_params()["database"])
            if ":memory:" not in path and "mode=memory" not in path:
                yield file("database", urlsplit(path).path if path.startswith("file:") else path)
            continue
        found = database.settings_dict
        host = str(found.get("HOST") or found.get("OPTIONS", {}).get("host") or "localhost")
        yield Store("database", f"{found['NAME']}@{host}", "host", host)


def caches() -> Iterator[Store]:
    for cache in settings.CACHES.values():
        kind = loaded(cache["BACKEND"])
        location = cache.get("LOCATION", "")
        if kind and issubclass(kind, (LocMemCache, DummyCache, DatabaseCache)):
            continue
        if kind and issubclass(kind, FileBasedCache):
            yield file("cache", location)
            continue
        addresses = re.split(r"[;,]", location) if isinstance(location, str) else location
        for address in addresses or [""]:
            yield at_address("cache", str(address), cache["BACKEND"])


def mail() -> Iterator[Store]:
    kind = loaded(settings.EMAIL_BACKEND)
    if kind and issubclass(kind, (console.EmailBackend, dummy.EmailBackend, locmem.EmailBackend)):
        # The backend that writes files is a kind of the one that writes to the console.
        if issubclass(kind, filebased.EmailBackend):
            yield file("mail folder", getattr(settings, "EMAIL_FILE_PATH", None) or ".")
    elif kind and issubclass(kind, smtp.EmailBackend):
        # Django's own default: nobody has set a mail server.
        if settings.EMAIL_HOST != "localhost":
            yield Store("mail server", str(settings.EMAIL_HOST), "host", str(settings.EMAIL_HOST))
    else:
        yield Store("mail server", settings.EMAIL_BACKEND, "unknown")


def files() -> Iterator[Store]:
    """Uploads, and static files, which are collected before each start."""
    roots = {"default": settings.MEDIA_ROOT, "staticfiles": settings.STATIC_ROOT}
    for alias, storage in settings.STORAGES.items():
        backend = str(storage["BACKEND"])
        kind, options = loaded(backend), storage.get("OPTIONS")
        named = str(options.get("location") or "") if isinstance(options, dict) else ""
        if kind and issubclass(kind, InMemoryStorage):
            continue
        if kind and issubclass(kind, FileSystemStorage):
            if location := named or str(roots.get(alias) or ""):
                yield file("folder of files", location)
        else:
            yield Store("storage of files", backend, "unknown")


def services() -> Iterator[Store]:
    """Brokers and the like, wherever a setting names one: redis://host, ("host", 6379), {"HOST": "host"}."""
    for name in dir(settings):
        if name.isupper() and name not in ("DATABASES", "CACHES", "EMAIL_HOST"):
            yield from named_in(getattr(settings, name), name)


def named_in(value: Any, setting: str) -> Iterator[Store]:
    if isinstance(value, str):
        # A lazy text says that it is one, and is not.
        value = str(value)
        address = urlsplit(value) if re.match(r"[a-z][a-z0-9+.-]*://", value) else None
        if address and address.scheme not in NO_SERVICE and address.hostname:
            yield at_address(f"service of {setting}", value, setting)
    elif isinstance(value, dict):
        if isinstance(host := value.get("HOST") or value.get("host"), str):
            yield Store(f"service of {setting}", host, "host", host)
        for inner in value.values():
            yield from named_in(inner, setting)
    elif isinstance(value, (list, tuple)):
        if len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:
            yield Store(f"service of {setting}", f"{value[0]}:{value[1]}", "host", value[0])
        for inner in value:
            yield from named_in(inner, setting)


def at_address(kind: str, address: str, otherwise: str) -> Store:
    """What is at scheme://user:password@host:port/path or host:port, without who asks."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if not parts.hostname:
        return Store(kind, otherwise, "unknown")
    name = f"{parts.scheme}://" * bool(parts.scheme) + parts.netloc.rpartition("@")[2] + parts.path
    return Store(kind, name, "host", parts.hostname)


def loaded(path: str) -> type | None:
    """The class that a setting names; None where its library is not there to be asked."""
    try:
        kind: type = import_string(path)
    except ImportError:
        return None
    return kind
