"""What uWSGI makes of the text behind an option: the C library's atoi and strtoul, and uWSGI's own idea of false."""

import re

from lowtide.tools.check.options import BOOLEANS, NUMBERS

# core/uwsgi.c:3947. Everything else is true, the empty text included. "0" is compared exactly, the words are not.
FALSE_WORDS = frozenset({"false", "off", "no", "0"})

_LEADING_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?\d+)")
# The marks of a template are a placeholder too: what comes out of it is not known here.
_PLACEHOLDER = re.compile(r"[$%@]\([^()]*\)|\{\{|<%")


def is_false(text: str) -> bool:
    """Whether uwsgi_opt_true reads this text as false."""
    return text.lower() in FALSE_WORDS


def leading_number(text: str) -> int:
    """atoi: the digits at the start, 0 when there are none."""
    found = _LEADING_NUMBER.match(text)
    return int(found.group(1)) if found else 0


def has_placeholder(text: str) -> bool:
    """Whether a $(VARIABLE), %(option) or @(file) is still in the text after uWSGI expanded what it could."""
    return bool(_PLACEHOLDER.search(text))


def read_number(kind: str, text: str) -> int | None:
    """The number that a numeric option ends up with, in the option's own unit; None where uWSGI refuses to start.

    megabytes stay megabytes (MiB) here; uWSGI multiplies them by 1024 * 1024 itself. Unsigned options read a negative
    number as one near 2**64.
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
    """The value that uWSGI works with, written for people; of a switch, whether the option is on."""
    if kind in NUMBERS:
        number = read_number(kind, text)
        if number is None:
            return "refused: negative"
        return f"{number} MB" if kind == "megabytes" else str(number)
    if kind in BOOLEANS:
        return "false" if is_false(text) else "true"
    return text
