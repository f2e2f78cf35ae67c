"""Settings, all from the environment. No secret stands here, and with no variable set but SECRET_KEY they are safe.

A value that cannot be used stops the start with ImproperlyConfigured, which names the variable and what to write.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from lowtide.django import database as stack_database
from lowtide.django import logs

CHECKOUT = Path(__file__).resolve().parents[2]
T = TypeVar("T")
# Each variable may come from a file instead: SECRET_KEY_FILE=/run/secrets/secret_key keeps it out of `docker inspect`.
env = environ.FileAwareEnv()


def written(name: str) -> str:
    """The environment variable `name`, or what is in the file that NAME_FILE names; empty where it is unset."""
    try:
        text: str = env.str(name, default="")
    except (OSError, UnicodeError) as error:
        raise ImproperlyConfigured(f"{name}_FILE={os.environ[f'{name}_FILE']} cannot be read: {error}.") from error
    return text.strip()


# Not django-environ's casts: its bool reads every word that it does not know as off, and its int names neither the
# variable nor what to write.
def read(name: str, default: T, parse: Callable[[str], T], expected: str) -> T:
    """The environment variable `name`, parsed; `default` where it is unset or empty."""
    text = written(name)
    if not text:
        return default
    try:
        return parse(text)
    except (KeyError, OSError, ValueError) as error:
        # An address may hold a password, and this ends up in logs.
        shown = name if "@" in text else f"{name}={text}"
        raise ImproperlyConfigured(f"{shown} cannot be used: write {expected}.") from error


def switch(name: str, default: bool) -> bool:
    """An on/off variable. A misspelt word is refused, because neither on nor off would be a safe guess."""
    words = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    return read(name, default, lambda text: words[text.lower()], "on or off")


def whole_number(name: str, default: int, minimum: int) -> int:
    def parse(text: str) -> int:
        if int(text) < minimum:
            raise ValueError(text)
        return int(text)

    return read(name, default, parse, f"a whole number, {minimum} or more")


def names(name: str, default: list[str]) -> list[str]:
    """A list, separated by commas; `default` where it is unset or empty."""
    return [item.strip() for item in env.list(name, default=[]) if item.strip()] or default


def log_level(text: str) -> str:
    if text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
        raise ValueError(text)
    return text.upper()


# Security

SECRET_KEY = written("SECRET_KEY")
if not SECRET_KEY:
    raise ImproperlyConfigured(
        "SECRET_KEY is not set. It signs sessions and tokens and must stay secret. Make one with\n"
        "    python3 -c 'import secrets; print(secrets.token_urlsafe(50))'\n"
        "and put it into the environment, or as SECRET_KEY=... into .env."
    )

DEBUG = switch("DEBUG", False)
ALLOWED_HOSTS = names("ALLOWED_HOSTS", ["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = names("CSRF_TRUSTED_ORIGINS", [])

# Only the proxy in front may set X-Forwarded-Proto: nginx/ overwrites what a client sends.
HTTPS = switch("HTTPS", True)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
# How long a browser remembers to come by HTTPS only. With an hour a mistake is soon over; set a year (31536000) once
# HTTPS works.
SECURE_HSTS_SECONDS = whole_number("HSTS_SECONDS", 3600, minimum=0) if HTTPS else 0
# Both also bind other hosts than this site's, and browsers remember them for long, so they are off unless somebody
# chooses them. `check --deploy` recommends them to everybody; its two warnings are silenced.
SECURE_HSTS_INCLUDE_SUBDOMAINS = switch("HSTS_INCLUDE_SUBDOMAINS", False)
SECURE_HSTS_PRELOAD = switch("HSTS_PRELOAD", False)
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# The largest body of an import. nginx refuses larger ones before (client_max_body_size). Forms keep Django's own limit
# of 2.5 MB (DATA_UPLOAD_MAX_MEMORY_SIZE), because anybody may send one to the login page, and parsing a form takes many
# times its length in memory.
MAX_BODY = whole_number("MAX_BODY_MB", 32, minimum=1) * 1024 * 1024

# The bearer token that opens imports and exports to programs (lowtide.django.access). Unset, only logged-in users with
# the permission get in.
IMPORT_TOKEN = written("IMPORT_TOKEN")

# Application

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    # The user model (AUTH_USER_MODEL).
    "accounts",
    # Counts failed logins.
    "axes",
    # Has the commands `diagnose` and `stores`.
    "lowtide.django",
    "catalog",
]
MIDDLEWARE = [
    "lowtide.django.request_id.RequestIdMiddleware",
    "lowtide.django.health.HealthMiddleware",
    "lowtide.django.guard.GuardMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
# `make dev` switches it on, and only there is it installed. The lines here and in urls.py may go together.
DEBUG_TOOLBAR = DEBUG and switch("DEBUG_TOOLBAR", False)
if DEBUG_TOOLBAR:
    INSTALLED_APPS.append("debug_toolbar")
    MIDDLEWARE.insert(0, "debug_toolbar.middleware.DebugToolbarMiddleware")
    INTERNAL_IPS = ["127.0.0.1"]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Cannot be changed once the first migration has run. Without this line and "accounts" above it is Django's own model.
AUTH_USER_MODEL = "accounts.User"
# Checking a password takes half a second of processor time. After ten failed logins from one address, or for one
# account, that address or account gets no more tries for a quarter of an hour. That also locks out the owner of the
# account: `manage.py axes_reset_username NAME` lets them in again. The counts are in the database, which all workers
# share.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["ip_address", "username"]
# Otherwise each further try during the wait would be stored, and prolong the wait.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_LOCKOUT_CALLABLE = "config.lockout.locked_out"
# Axes would add a row for each login, without end. Django already keeps the last login of each user.
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STATIC_ROOT = read("STATIC_ROOT", CHECKOUT / "var" / "static", Path, "a folder")
# Names with a hash of the content, so that nginx may tell browsers to keep a file for ever.
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"},
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Database


def database(url: str) -> dict[str, Any]:
    """Django's settings of the database at `url`. Raises ValueError for anything but PostgreSQL and SQLite."""
    config = stack_database.settings(url, whole_number("DATABASE_TIMEOUT", 15, minimum=0))
    return config | {"CONN_MAX_AGE": whole_number("CONN_MAX_AGE", 60, minimum=0)}


DATABASES = {
    "default": read(
        "DATABASE_URL",
        None,
        database,
        stack_database.WRITE,
    )
    or database(f"sqlite:///{CHECKOUT}/var/db.sqlite3")
}

# Cache


def cache(url: str) -> dict[str, Any]:
    """Django's settings of the cache at `url`. Raises ValueError for one that is not offered."""
    parts = urlsplit(url)
    here = {"locmemcache": True, "filecache": len(parts.path) > 1, "dbcache": bool(parts.netloc)}
    if not here.get(parts.scheme, parts.scheme in {"redis", "rediss"} and bool(parts.hostname)):
        raise ValueError(url)
    config: dict[str, Any] = env.cache_url_config(url)
    return config


# Django's default, locmemcache, is a cache in the memory of each worker: all of them keep copies of the same, and none
# sees what another has stored. `manage.py cache_cost` measures what that takes.
CACHES = {
    "default": read(
        "CACHE_URL", None, cache, "locmemcache://, filecache:///folder, dbcache://TABLE or redis://HOST:6379/0"
    )
    or cache("locmemcache://")
}

# Logging: lines of JSON to standard error, in the form of nginx's

LOGGING = logs.settings(read("LOG_LEVEL", "INFO", log_level, "DEBUG, INFO, WARNING, ERROR or CRITICAL"))
# Axes writes three lines for each failed login.
LOGGING["loggers"]["axes"] = {"level": "WARNING"}
