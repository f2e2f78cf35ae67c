"""Reads a text file, or says in one line why it cannot be read."""

from pathlib import Path

MAX_FILE_BYTES = 1024 * 1024


class UnreadableError(Exception):
    """The configuration cannot be read at all; the text says which file and why."""


def shown(path: Path, cwd: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)


def read_text(path: Path) -> str:
    """The file's text.

    Raises UnreadableError for a file that cannot be a uWSGI configuration: a folder, a device, more than 1 MiB, or a
    file with NUL bytes.
    """
    try:
        if not path.is_file():
            raise UnreadableError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UnreadableError(f"{path}: larger than 1 MiB, which is no uWSGI configuration")
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UnreadableError(f"{path!s:.80}: {error}") from None
    if b"\0" in data:
        raise UnreadableError(f"{path}: holds NUL bytes (binary, or UTF-16; uWSGI reads 8-bit text only)")
    return decode(data)[0]


def decode(data: bytes) -> tuple[str, str]:
    """The text and its encoding: UTF-8, or Latin-1 where the bytes are no UTF-8, because uWSGI ignores encodings."""
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"
