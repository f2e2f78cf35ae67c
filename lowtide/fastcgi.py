"""FastCGI's records, as far as nginx and uWSGI use them: https://fastcgi-archives.github.io/FastCGI_Specification.html

A response ends with a record of its own, so nginx can tell an answer that is complete from one whose worker died. With
uWSGI's own protocol both end alike: the connection is closed.
"""

import struct
from collections.abc import Iterator

BEGIN, END, PARAMS, STDIN, STDOUT = 1, 3, 4, 5, 6
# Version, kind, request's number, length, padding, unused.
HEAD = struct.Struct(">BBHHBx")
VERSION = 1
_LONGEST = 0xFFFF


def record(kind: int, content: bytes = b"") -> bytes:
    return HEAD.pack(VERSION, kind, 1, len(content), 0) + content


def _records(kind: int, content: bytes) -> bytes:
    return b"".join(record(kind, content[at : at + _LONGEST]) for at in range(0, len(content), _LONGEST))


def _size(text: bytes) -> bytes:
    return bytes([len(text)]) if len(text) < 128 else struct.pack(">I", len(text) | 1 << 31)


def request(variables: dict[str, str]) -> bytes:
    """A request without a body."""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in variables.items()]
    params = b"".join(_size(name) + _size(value) + name + value for name, value in pairs)
    return record(BEGIN, b"\0\1" + bytes(6)) + _records(PARAMS, params) + record(PARAMS) + record(STDIN)


def variables(params: bytes) -> dict[str, str]:
    """The variables in the content of a request's PARAMS records.

    Raises:
        ValueError: the content breaks off.
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(params):
        sizes = []
        for _ in range(2):
            long = params[at : at + 4]
            if long and long[0] < 128:
                sizes.append(long[0])
                at += 1
            else:
                sizes.append(int.from_bytes(long, "big") & 0x7FFFFFFF)
                at += 4
        name_end, end = at + sizes[0], at + sum(sizes)
        if end > len(params):
            raise ValueError("the variables of a FastCGI request break off")
        found[params[at:name_end].decode("latin-1")] = params[name_end:end].decode("latin-1")
        at = end
    return found


def response(head_and_body: bytes) -> bytes:
    """A complete response."""
    return _records(STDOUT, head_and_body) + record(STDOUT) + record(END, bytes(8))


def answer(received: bytes) -> Iterator[bytes]:
    """The contents of the STDOUT records in what a server has sent."""
    at = 0
    while at + HEAD.size <= len(received):
        _, kind, _, size, padding = HEAD.unpack_from(received, at)
        at += HEAD.size
        if kind == STDOUT:
            yield received[at : at + size]
        at += size + padding
