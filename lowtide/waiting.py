"""Those who wait at a uWSGI that stops: connections that no worker has accepted are told to come back.

With `shutdown-sockets` uWSGI's workers shut its sockets down before they leave for good: nobody new gets in, and who
waits already can still be accepted. A reload shuts nothing down, there the successors serve them.
"""

import os
import select
import socket
import struct
import time
from contextlib import ExitStack, suppress

from lowtide.busy import busy

# For one request, and for all: what nginx sends is complete, so it comes at once.
_REQUEST_S = 1.0
LONGEST_S = 5.0


def _is_shut(listening: socket.socket) -> bool:
    look = select.poll()
    look.register(listening, 0)
    return any(events & select.POLLHUP for _, events in look.poll(0))


def _receive(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size and (part := connection.recv(min(size - len(received), 65536))):
        received += part
    return bytes(received)


def _variables(packet: bytes) -> dict[str, str]:
    """https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html"""
    words: list[str] = []
    at = 0
    while at + 2 <= len(packet):
        (size,) = struct.unpack_from("<H", packet, at)
        words.append(packet[at + 2 : at + 2 + size].decode("latin-1"))
        at += 2 + size
    return dict(zip(words[::2], words[1::2], strict=False))


def _refuse(connection: socket.socket) -> None:
    connection.settimeout(_REQUEST_S)
    _, size, _ = struct.unpack("<BHB", _receive(connection, 4))
    variables = _variables(_receive(connection, size))
    # Unread, it would break the connection before the answer is heard.
    left = int(variables.get("CONTENT_LENGTH") or 0)
    while left > 0 and (part := connection.recv(min(left, 65536))):
        left -= len(part)
    status, headers, page = busy(variables)
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    connection.sendall("\r\n".join(lines).encode() + page)


def refuse(descriptors: list[int]) -> int:
    """Answer 503 to everybody who waits at these listening sockets, once one of them has been shut down.

    uWSGI shuts down only those that a worker serves itself (map-socket); the others follow here. Returns how many were
    answered.
    """
    refused = 0
    deadline = time.monotonic() + LONGEST_S
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket(fileno=os.dup(descriptor))) for descriptor in descriptors]
        if not any(map(_is_shut, sockets)):
            return 0
        for listening in sockets:
            # Only uWSGI's own protocol is spoken here, and that is behind nginx.
            if listening.family != socket.AF_UNIX:
                continue
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.setblocking(False)
            while time.monotonic() < deadline:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    break
                with connection, suppress(OSError, ValueError, struct.error):
                    _refuse(connection)
                    refused += 1
    return refused
