"""The settings of an application that knows nothing of this stack: its own, with what the stack provides.

They are Django's settings module where lowtide.toml names the application's own module under `settings`. Of that module
this file changes only what docs/adopt.md lists. A setting that must differ from both belongs into the application's
module, under a name that the stack does not set.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from lowtide import application
from lowtide.django import database, logs
from lowtide.django.contract import switched_on

_described = application.read()
_described.importable()
# As in the sample, each variable may come from a file instead, which keeps it out of `docker inspect`.
for _name in ("SECRET_KEY", "DATABASE_URL", *_described.variables):
    if _value := os.environ.get(f"{_name}_FILE"):
        try:
            os.environ[_name] = Path(_value).read_text().strip()
        except (OSError, UnicodeError) as _error:
            raise ImproperlyConfigured(f"{_name}_FILE={_value} cannot be read: {_error}.") from None
try:
    _module = importlib.import_module(_described.settings or "")
except ImproperlyConfigured:
    raise
# A module of settings often reads variables of the environment, and each has another way to refuse one that is unset.
except Exception as _error:
    raise ImproperlyConfigured(
        f"{_described.settings} cannot be imported: {type(_error).__name__}: {_error}. If it misses a variable of the "
        f"environment, write [variables.NAME] for it into {_described.file}."
    ) from _error
globals().update({_name: getattr(_module, _name) for _name in dir(_module) if _name.isupper()})
_own: dict[str, Any] = globals()

if _value := os.environ.get("SECRET_KEY"):
    SECRET_KEY = _value
for _name, _value in (
    ("ALLOWED_HOSTS", os.environ.get("ALLOWED_HOSTS") or "127.0.0.1,localhost"),
    ("CSRF_TRUSTED_ORIGINS", os.environ.get("CSRF_TRUSTED_ORIGINS")),
):
    if _value:
        _own[_name] = [_word.strip() for _word in _value.split(",") if _word.strip()]
for _name in ("STATIC_ROOT", "MEDIA_ROOT"):
    if _value := os.environ.get(_name):
        # A project that has a Path there may go on from it, as in STATIC_ROOT / "manifest.json".
        _own[_name] = Path(_value) if isinstance(_own.get(_name), Path) else _value
DEBUG = switched_on("DEBUG", default=False)

# nginx tells by which protocol the client came, and overwrites what the client says. Without HTTPS a redirect to it
# would lead nowhere, and browsers would not send back secure cookies.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if switched_on("HTTPS", default=True) else None
if SECURE_PROXY_SSL_HEADER:
    _seconds = os.environ.get("HSTS_SECONDS") or "3600"
    if not _seconds.isdecimal():
        raise ImproperlyConfigured(f"HSTS_SECONDS={_seconds} cannot be used: write a whole number, 0 or more.")
    for _name, _setting in (
        ("SECURE_SSL_REDIRECT", True),
        ("SESSION_COOKIE_SECURE", True),
        ("CSRF_COOKIE_SECURE", True),
        ("SECURE_HSTS_SECONDS", int(_seconds)),
        ("SECURE_HSTS_INCLUDE_SUBDOMAINS", switched_on("HSTS_INCLUDE_SUBDOMAINS", default=False)),
        ("SECURE_HSTS_PRELOAD", switched_on("HSTS_PRELOAD", default=False)),
    ):
        _own.setdefault(_name, _setting)
else:
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
    SECURE_HSTS_SECONDS = 0

if _value := os.environ.get("DATABASE_URL"):
    try:
        _theirs = database.settings(_value, int(os.environ.get("DATABASE_TIMEOUT") or 15))
    except ValueError:
        # The address may hold a password, and this ends up in logs.
        raise ImproperlyConfigured(f"DATABASE_URL cannot be used: write {database.WRITE}.") from None
    _default = _own.get("DATABASES", {}).get("default", {})
    _kept = {_name: _default[_name] for _name in ("ATOMIC_REQUESTS", "TEST", "TIME_ZONE") if _name in _default}
    _engine = _default.get("ENGINE", "")
    # A project's own engine for PostgreSQL, such as PostGIS, stays.
    if "postg" in _theirs["ENGINE"] and "postg" in _engine and _engine != "django.db.backends.postgresql":
        _kept["ENGINE"] = _engine
        _theirs["OPTIONS"].pop("timeout_s", None)
    DATABASES = {**_own.get("DATABASES", {}), "default": _theirs | _kept}

if _value := os.environ.get("CACHE_URL"):
    if not _value.startswith(("redis://", "rediss://", "unix://")):
        raise ImproperlyConfigured("CACHE_URL cannot be used: write redis://host:6379/0, rediss:// or unix://.")
    _redis = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _value}
    CACHES = {**_own.get("CACHES", {}), "default": _redis}

INSTALLED_APPS = [*_own.get("INSTALLED_APPS", ()), "lowtide.django"]
MIDDLEWARE = [
    "lowtide.django.request_id.RequestIdMiddleware",
    "lowtide.django.health.HealthMiddleware",
    "lowtide.django.guard.GuardMiddleware",
    *_own.get("MIDDLEWARE", ()),
]
# Django mails errors to the administrators and writes them nowhere else unless a project says otherwise.
if not _own.get("LOGGING"):
    LOGGING = logs.settings((os.environ.get("LOG_LEVEL") or "INFO").upper())

# Dynaconf has put an object of its own in place of django.conf.settings, and says so under this name.
if _dynaconf := _own.get("DYNACONF"):
    _changed = [_name for _name in _own if _name.isupper() and _own[_name] is not getattr(_module, _name, None)]
    _dynaconf.update({_name: _own[_name] for _name in _changed})
