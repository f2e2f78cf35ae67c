"""Django's lines of JSON: one form, and a bound for each text."""

import json
import logging
import sys
from typing import Any

import pytest

from lowtide import logs
from lowtide.django.logs import EXCEPTION, MESSAGE, Json


def line(message: str = "said", **extra: Any) -> dict[str, Any]:
    record = logging.makeLogRecord({"msg": message, "levelname": "ERROR", "name": "shop", **extra})
    text = Json().format(record)
    assert "\n" not in text
    assert len(text.encode(errors="backslashreplace")) < logs.LONGEST
    entry: dict[str, Any] = json.loads(text)
    return entry


def test_the_form_is_that_of_the_other_lines() -> None:
    entry = line("paid %d", args=(3,), order=17, customer=("a", 1), request=object(), status_code=500, time="never")
    assert list(entry) == ["event", "time", "level", "request_id", "logger", "message", "order", "customer", "status"]
    assert (entry["level"], entry["request_id"], entry["message"]) == ("error", "-", "paid 3")
    assert (entry["order"], entry["customer"], entry["status"]) == (17, "('a', 1)", 500)
    assert isinstance(entry["time"], float)


@pytest.mark.parametrize("text", ["x", "\0", "\u20ac", "\udc80", "\U0001f600", '"'])
def test_no_line_is_so_long_that_it_would_be_cut(text: str) -> None:
    try:
        raise ValueError(text * 50_000)
    except ValueError:
        info = sys.exc_info()
    extras: dict[str, Any] = {f"{text}{number}" * 500: text * 10_000 for number in range(50)}
    entry = line(text * 50_000, exc_info=info, stack_info=text * 50_000, **extras)
    assert entry["message"].endswith("...")
    assert len(entry["message"]) > MESSAGE / 8
    assert entry["exception"].startswith("...")
    assert len(entry["exception"]) > EXCEPTION / 8
