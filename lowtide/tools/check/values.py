"""Reads an option's value as uWSGI does: with the C library's atoi and strtoul, and uWSGI's own words for false."""

import re

from lowtide.tools.check.options import BOOLEANS, NUMBERS

# core/uwsgi.c:3947. Every other text is true, also an empty one. uWSGI ignores the case of the words.
FALSE_WORDS = frozenset({"false", "off", "no", "0"})

_LEADING_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?\d+)")
# The marks of a template count as placeholders, because the value that replaces them is not known here.
_PLACEHOLDER = re.compile(r"[$%@]\([^()]*\)|\{\{|<%")


def is_false(text: str) -> bool:
    """Whether uwsgi_opt_true reads this text as false."""
    return text.lower() in FALSE_WORDS


def leading_number(text: str) -> int:
    """The number at the start of a text, as C's atoi reads it; 0 if there is none."""
    match = _LEADING_NUMBER.match(text)
    return int(match.group(1)) if match else 0


def has_placeholder(text: str) -> bool:
    """Whether a $(VARIABLE), %(option) or @(file) is still in the text after uWSGI expanded what it could."""
    return bool(_PLACEHOLDER.search(text))


def read_number(kind: str, text: str) -> int | None:
    """The number that uWSGI reads for a numeric option, in the option's own unit; None if uWSGI refuses to start.

    Megabytes (MiB) are not multiplied by 1024 * 1024 here, as uWSGI does. An unsigned option reads a negative number as
    one near 2**64.
    """
    number = leading_number(text)
    if kind == "int":
        return number if number >= 0 else None
    if kind == "16bit":
        return min(number % 2**64, 65535)
    if kind in ("64bit", "megabytes"):
        return number % 2**64
    return number


def effective(kind: str, text: str) -> str:
    """The value that uWSGI uses, as text for people; for a switch, whether it is on."""
    if kind in NUMBERS:
        if (number := read_number(kind, text)) is None:
            return "refused: negative"
        return f"{number} MB" if kind == "megabytes" else str(number)
    if kind in BOOLEANS:
        return "false" if is_false(text) else "true"
    return text
