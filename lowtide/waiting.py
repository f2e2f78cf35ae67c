"""When uWSGI stops, answers 503 with Retry-After to clients in its listen queue, which no worker has accepted.

With `shutdown-sockets` uWSGI's workers shut its sockets down before they end: no new connection gets in, but one that
already waits can still be accepted. A reload does not shut the sockets down, because new workers serve these clients.
A worker that is busy when the stop begins does not wait for that (`lowtide.stopping`).
"""

import os
import select
import socket
import struct
import time
from contextlib import ExitStack, suppress

from lowtide import fastcgi
from lowtide.busy import busy

# Time limits for one request and for all. They are short, because nginx sends a complete request at once.
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
    """The variables in a packet of uWSGI's protocol: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html"""
    words: list[str] = []
    at = 0
    while at + 2 <= len(packet):
        (size,) = struct.unpack_from("<H", packet, at)
        words.append(packet[at + 2 : at + 2 + size].decode("latin-1"))
        at += 2 + size
    return dict(zip(words[::2], words[1::2], strict=False))


def _refuse(connection: socket.socket) -> None:
    """Read the request to its end, and answer it.

    With an unread body, closing the socket would reset the connection before nginx has read the answer.
    """
    connection.settimeout(_REQUEST_S)
    # A request of FastCGI begins with its version, one of uWSGI's protocol with 0.
    if connection.recv(1, socket.MSG_PEEK) == bytes([fastcgi.VERSION]):
        connection.sendall(fastcgi.response(_page("Status:", _fastcgi(connection))))
        return
    _, size, _ = struct.unpack("<BHB", _receive(connection, 4))
    variables = _variables(_receive(connection, size))
    left = int(variables.get("CONTENT_LENGTH") or 0)
    while left > 0 and (part := connection.recv(min(left, 65536))):
        left -= len(part)
    connection.sendall(_page("HTTP/1.1", variables))


def _fastcgi(connection: socket.socket) -> dict[str, str]:
    """The variables of a FastCGI request, which is read to its end."""
    params = bytearray()
    while True:
        _, kind, _, size, padding = fastcgi.HEAD.unpack(_receive(connection, fastcgi.HEAD.size))
        content = _receive(connection, size + padding)[:size]
        if kind == fastcgi.PARAMS:
            params += content
        if kind == fastcgi.STDIN and not size:
            return fastcgi.variables(bytes(params))


def _page(status_is_after: str, variables: dict[str, str]) -> bytes:
    status, headers, page = busy(variables)
    lines = [f"{status_is_after} {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode() + page


def refuse(descriptors: list[int], stops: bool = False) -> int:
    """Answer 503 to every client that waits at these listening sockets, if one of them has been shut down or `stops`.

    A worker shuts down only the sockets that it serves itself (map-socket), so this shuts down the others. Returns how
    many clients were answered.
    """
    refused = 0
    deadline = time.monotonic() + LONGEST_S
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket(fileno=os.dup(descriptor))) for descriptor in descriptors]
        if not stops and not any(map(_is_shut, sockets)):
            return 0
        for listening in sockets:
            # Only unix sockets, where nginx speaks FastCGI or uWSGI's protocol, are answered here.
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
