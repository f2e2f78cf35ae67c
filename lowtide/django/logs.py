"""Django's log as JSON lines of the same form as nginx's, uWSGI's and Lowtide's own, all of it to standard error.

    LOGGING = lowtide.django.logs.settings("INFO")

    {"event": "log", "time": 1700000000.0, "level": "warning", "request_id": "5f0c...", "logger": "django.request",
     "message": "Not Found: /nowhere"}

An error has its traceback under `exception`, and what was passed as `extra` stands under its own name. On a terminal
the lines are text. This is our own formatter of the standard library's kind and not python-json-logger's or structlog's
because an adopted application gets it too, without a package that its requirements do not name, and because each text
has a bound: a line must stay below lowtide.logs.LONGEST, where it would be cut in the middle of its JSON.
"""

import bisect
import json
import logging
import sys
from typing import Any

from lowtide.django.request_id import current

# Bytes of each text in the line. Together they stay below lowtide.logs.LONGEST.
MESSAGE, EXCEPTION, EXTRA, NAME = 4000, 8000, 300, 50
EXTRAS = 8
# What every record has, and what Django adds for its own handlers.
_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "request", "request_id", "server_time"}


def bounded(text: str, longest: int, end: bool = False) -> str:
    """The text, cut to `longest` bytes of JSON: its beginning, or its end."""

    def cut(length: int) -> str:
        return text[len(text) - length :] if end else text[:length]

    def size(length: int) -> int:
        return len(json.dumps(cut(length), ensure_ascii=False).encode(errors="backslashreplace")) - 2

    # Each character takes a byte or more.
    if len(text) <= longest and size(len(text)) <= longest:
        return text
    shown = cut(bisect.bisect_right(range(min(len(text), longest)), longest - len("..."), key=size) - 1)
    return f"...{shown}" if end else f"{shown}..."


class Json(logging.Formatter):
    """Formats each record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "event": "log",
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "request_id": current.get(),
            "logger": record.name,
            "message": bounded(record.getMessage(), MESSAGE),
        }
        extras = [name for name in vars(record) if name not in _USUAL and name not in line][:EXTRAS]
        for name in extras:
            value = getattr(record, name)
            plain = isinstance(value, (bool, int, float)) or value is None
            # nginx calls it `status`.
            key = "status" if name == "status_code" else bounded(name, NAME)
            line[key] = value if plain else bounded(str(value), EXTRA)
        if record.exc_info:
            # The last lines of a traceback say what happened.
            line["exception"] = bounded(self.formatException(record.exc_info), EXCEPTION, end=True)
        if record.stack_info:
            line["stack"] = bounded(record.stack_info, EXTRA, end=True)
        return json.dumps(line, ensure_ascii=False)


def settings(level: str) -> dict[str, Any]:
    """Django's LOGGING, from this level on."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "lowtide.django.request_id.RequestIdFilter"}},
        "formatters": {
            "json": {"()": "lowtide.django.logs.Json"},
            "text": {"format": "{asctime} {levelname} {name} {request_id}: {message}", "style": "{"},
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "text" if sys.stderr.isatty() else "json",
                "filters": ["request_id"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        # Django's own handlers, which e-mail the administrators, are taken away, so that its log goes where others go.
        "loggers": {"django": {"handlers": [], "level": "NOTSET"}},
    }
