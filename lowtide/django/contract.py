"""What the stack asks of an application's settings (docs/adopt.md), as system checks of Django.

`manage.py migrate` runs them before each start, in both runtimes and in deployments; an error stops the start. Each
compares a setting with the variable of the environment by which nginx and the other parts of the stack are set up. A
variable that is unset is compared with nothing.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.http.request import validate_host

from lowtide.django import database

ON_OFF = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


def switched_on(name: str, default: bool) -> bool:
    """An on/off variable of the environment."""
    text = os.environ.get(name, "").strip().lower()
    if text and text not in ON_OFF:
        raise ImproperlyConfigured(f"{name}={os.environ[name]} cannot be used: write on or off.")
    return ON_OFF.get(text, default)


def check(**_: Any) -> list[CheckMessage]:
    errors = (*database_check(), *static_check(), *hosts_check(), *proxy_check())
    return [*(Error(said, id=f"lowtide.E{number:03d}") for number, said in errors), *body_check()]


def database_check() -> Iterator[tuple[int, str]]:
    # Where the address is in a file, the variable may have another.
    if not (url := os.environ.get("DATABASE_URL")) or os.environ.get("DATABASE_URL_FILE"):
        return
    try:
        wanted = database.settings(url)
    except ValueError:
        return
    default = settings.DATABASES.get("default", {})
    # `make loadtest ARGS="--database-i-own NAME"` measures with a database that the settings name themselves.
    if str(default.get("NAME", "")) in os.environ.get("DATABASE_I_OWN", "").splitlines():
        return
    for name in ("NAME", "HOST", "USER"):
        if str(default.get(name, "")) != str(wanted.get(name, "")):
            yield 1, f'DATABASES["default"] is not the database of DATABASE_URL ({name} differs): read it from there.'
            return


def static_check() -> Iterator[tuple[int, str]]:
    if settings.STATIC_URL != "/static/":
        yield 2, f'STATIC_URL is {settings.STATIC_URL!r}, and nginx serves the files at /static/: write "static/".'
    root = os.environ.get("STATIC_ROOT")
    if root and (not settings.STATIC_ROOT or Path(settings.STATIC_ROOT).resolve() != Path(root).resolve()):
        yield 3, f"STATIC_ROOT is {settings.STATIC_ROOT!s}, and nginx reads {root}: take it from the environment."


def hosts_check() -> Iterator[tuple[int, str]]:
    for host in filter(None, map(str.strip, os.environ.get("ALLOWED_HOSTS", "").split(","))):
        if not validate_host(host.lstrip("."), settings.ALLOWED_HOSTS):
            yield (
                4,
                f"ALLOWED_HOSTS does not let in {host}, which the variable of this name does: read it from there.",
            )


def proxy_check() -> Iterator[tuple[int, str]]:
    if not settings.SECURE_SSL_REDIRECT:
        return
    if not switched_on("HTTPS", default=True):
        yield 5, "SECURE_SSL_REDIRECT is on and HTTPS is off, so every page redirects to nowhere: turn it off then."
    elif settings.SECURE_PROXY_SSL_HEADER != ("HTTP_X_FORWARDED_PROTO", "https"):
        yield (
            6,
            (
                "SECURE_SSL_REDIRECT is on without SECURE_PROXY_SSL_HEADER, so every page redirects to itself: write "
                '("HTTP_X_FORWARDED_PROTO", "https").'
            ),
        )


def body_check() -> Iterator[CheckMessage]:
    body, limit = os.environ.get("MAX_BODY_MB", ""), settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if body.isdecimal() and (limit is None or limit > int(body) * 2**20):
        yield Warning(
            f"DATA_UPLOAD_MAX_MEMORY_SIZE lets in larger bodies than nginx does (MAX_BODY_MB={body}): raise that, or "
            "lower the setting.",
            id="lowtide.W001",
        )
