"""Decides whether load may be sent to a site: always to this machine, elsewhere only if the user says it is theirs."""

import ipaddress
from urllib.parse import urlsplit


class Forbidden(Exception):
    """Load may not be sent there; the message says why."""


def is_loopback(host: str) -> bool:
    """Whether the URL `host` is this machine: localhost, 127.0.0.0/8 or ::1. A name is not looked up."""
    name = urlsplit(host).hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def permit(host: str, owned: bool) -> None:
    """Do nothing if load may be sent to the URL `host`; `owned` is the flag --i-own-this-host.

    Raises:
        Forbidden: it is not the URL of a web server, or it is another machine and the flag was not given.
    """
    parts = urlsplit(host)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Forbidden(f"HOST={host} is no address of a site: write https://name or http://127.0.0.1:8080.")
    if "@" in parts.netloc:
        raise Forbidden("HOST has a user or a password in it, which would stand in the reports: leave it out.")
    if not owned and not is_loopback(host):
        raise Forbidden(
            f"{host} is not this machine. A load test of somebody else's site is an attack on it: if it is yours, or "
            "its owner agreed, add --i-own-this-host."
        )
