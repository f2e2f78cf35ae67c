"""Reads values of the command line for argparse, which shows the text of its own error only."""

import argparse
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """`parse` for argparse: the text of its ValueError is shown."""

    def parsed(value: str) -> T:
        try:
            return parse(value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


@argument
def count(value: str) -> int:
    if not value.isdecimal() or int(value) == 0:
        raise ValueError(f"{value!r} is no number above 0")
    return int(value)
