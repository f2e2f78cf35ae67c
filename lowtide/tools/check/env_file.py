"""Reads variables from a `.env` file, with python-dotenv, and from a command line."""

import io
from pathlib import Path

from lowtide.tools.check.files import UnreadableError, read_text


def read_env_file(path: Path, strict: bool = False) -> dict[str, str]:
    """The variables in the file at `path`. A line that is not NAME=VALUE is left out, or with `strict` an error.

    Raises:
        UnreadableError: the file cannot be read, python-dotenv is missing, or `strict` and such a line.
    """
    try:
        from dotenv import dotenv_values
        from dotenv.parser import parse_stream
    except ImportError:
        raise UnreadableError(f"{path}: reading it needs python-dotenv (pip install python-dotenv)") from None
    text = read_text(path)
    for line in parse_stream(io.StringIO(text)) if strict else ():
        if line.error or (line.key and line.value is None):
            raise UnreadableError(f"{path}: {line.original.string.strip()!r} is not NAME=VALUE")
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value is not None}


def pair(text: str) -> tuple[str, str]:
    """The name and the value of NAME=VALUE; raises UnreadableError for any other text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UnreadableError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()
