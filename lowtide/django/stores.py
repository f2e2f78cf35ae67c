"""Lists where an application writes, from Django's settings: databases, caches, mail, files, services such as brokers.

`manage.py stores` prints the list, and the server writes it into RUN_DIR when it loads the application. The experiment
reads both before it sends anything, so that it never writes into data that is not its own. The list has no passwords.
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
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.files.storage import FileSystemStorage
from django.core.mail.backends import console, dummy, filebased, locmem, smtp
from django.db import connections
from django.utils.module_loading import import_string

log = logging.getLogger(__name__)
FILE = "stores.json"
# Schemes of addresses that are not services: links, references to Python objects in LOGGING, and stores that other
# functions of this module list.
NO_SERVICE = {"cfg", "data", "ext", "file", "http", "https", "sqlite"}


@dataclass(frozen=True)
class Store:
    """One place that the application can write to.

    Attributes:
        kind: what it is, in words: "database", "cache", ...
        name: its name among the stores of its kind; for a file its absolute path.
        place: whether it is a file or on a host; "unknown" where only its library could tell.
        host: the host's name, where the place is a host.
    """

    kind: str
    name: str
    place: Literal["file", "host", "unknown"]
    host: str = ""


def all_stores() -> list[Store]:
    return list(dict.fromkeys((*databases(), *caches(), *mail(), *files(), *services())))


def write() -> None:
    """Write the stores and the time into RUN_DIR, if there is one, for the program that started this server."""
    folder = os.environ.get("RUN_DIR")
    if not folder or not Path(folder).is_dir():
        return
    unfinished = Path(folder) / f"{FILE}.{os.getpid()}"
    try:
        unfinished.write_text(json.dumps({"time": time.time(), "stores": [asdict(store) for store in all_stores()]}))
        unfinished.replace(Path(folder) / FILE)
    except Exception:
        # The site must start all the same; the experiment refuses to run when the file is missing.
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
        values = database.settings_dict
        host = str(values.get("HOST") or values.get("OPTIONS", {}).get("host") or "localhost")
        yield Store("database", f"{values['NAME']}@{host}", "host", host)


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
        # Only the file backend writes; it is a subclass of the console's.
        if issubclass(kind, filebased.EmailBackend):
            yield file("mail folder", getattr(settings, "EMAIL_FILE_PATH", None) or ".")
    elif kind and issubclass(kind, smtp.EmailBackend):
        # localhost is Django's default, so no mail server was set.
        if settings.EMAIL_HOST != "localhost":
            yield Store("mail server", str(settings.EMAIL_HOST), "host", str(settings.EMAIL_HOST))
    else:
        yield Store("mail server", settings.EMAIL_BACKEND, "unknown")


def files() -> Iterator[Store]:
    """The folders of uploads and of static files, which are collected before each start."""
    roots = {"default": settings.MEDIA_ROOT, "staticfiles": settings.STATIC_ROOT}
    for alias, storage in storages().items():
        backend = str(storage["BACKEND"])
        kind, options = loaded(backend), storage.get("OPTIONS")
        named = str(options.get("location") or "") if isinstance(options, dict) else ""
        # By name, because Django has it from 4.2 only.
        if kind and any(parent.__name__ == "InMemoryStorage" for parent in kind.__mro__):
            continue
        if kind and issubclass(kind, FileSystemStorage):
            if location := named or str(roots.get(alias) or ""):
                yield file("folder of files", location)
        else:
            yield Store("storage of files", backend, "unknown")


def storages() -> dict[str, Any]:
    """STORAGES, which took the place of two settings in Django 4.2."""
    if hasattr(settings, "STORAGES"):
        stores: dict[str, Any] = settings.STORAGES
        return stores
    older = {"default": "DEFAULT_FILE_STORAGE", "staticfiles": "STATICFILES_STORAGE"}
    return {alias: {"BACKEND": getattr(settings, name)} for alias, name in older.items()}


def services() -> Iterator[Store]:
    """Services such as brokers, in whichever setting: redis://host, ("host", 6379), {"HOST": "host"}."""
    for name in dir(settings):
        # Dynaconf's own say from where settings are read, and nothing is written there.
        if name.endswith("_FOR_DYNACONF"):
            continue
        if name.isupper() and name not in ("DATABASES", "CACHES", "EMAIL_HOST"):
            yield from named_in(getattr(settings, name), name)


def named_in(value: Any, setting: str) -> Iterator[Store]:
    if isinstance(value, str):
        # A lazily translated text claims to be a str but is none, so it is converted.
        value = str(value)
        scheme = re.match(r"([a-z][a-z0-9+.-]*)://", value)
        if scheme and scheme[1] not in NO_SERVICE:
            parts = split(value)
            if parts is None or parts.hostname:
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


def split(address: str) -> SplitResult | None:
    """The parts of an address; None where it is malformed, as redis://[x is."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def at_address(kind: str, address: str, otherwise: str) -> Store:
    """The store at scheme://user:password@host:port/path or host:port; its name leaves out user and password."""
    parts = split(address if "://" in address else f"//{address}")
    if parts is None or not parts.hostname:
        return Store(kind, otherwise, "unknown")
    name = f"{parts.scheme}://" * bool(parts.scheme) + parts.netloc.rpartition("@")[2] + parts.path
    return Store(kind, name, "host", parts.hostname)


def loaded(path: str) -> type | None:
    """The class that a setting names; None where its library is not installed."""
    try:
        kind: type = import_string(path)
    except ImportError:
        return None
    return kind
