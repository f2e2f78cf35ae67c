"""Where the checkout is, and which port of this machine is free."""

import secrets
import socket
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port that is free and stays so: below 32768 the kernel gives none to a connection or to port 0."""
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
