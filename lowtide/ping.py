"""The container's health check: it asks the application for a path, directly on its FastCGI socket.

    python -m lowtide.ping /healthz             on $RUN_DIR/small.sock
    python -m lowtide.ping /healthz SOCKET

/healthz and /readyz become the application's own paths (lowtide.toml), as in nginx.

When no answer comes because every worker for small requests is busy, the application counts as alive: a database that
stalls must not get it killed, and uWSGI ends a request that hangs (harakiri).

Where the page of metrics has a container of its own, it also shows it this container's processes (lowtide.neighbour).
Exit codes: 0 the answer is 200 or all workers are busy, 1 another answer or none, 2 wrong use.
"""

import os
import socket
import sys
import tomllib

from lowtide import beside, fastcgi, neighbour
from lowtide.application_file import NAME, find

# A health check may take 5 s. 3 s are long enough for one large request to end, and leave time to print why it failed.
SECONDS = 3.0
# How many bytes of the answer are read.
LONGEST = 65536


def status(path: str, address: str, seconds: float = SECONDS) -> int:
    """The HTTP status of GET `path` from the FastCGI server on the unix socket `address`.

    Raises OSError when no answer comes within `seconds`, and ValueError when the answer has no status.
    """
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "HTTP_HOST": "localhost",
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(address)
        connection.sendall(fastcgi.request(variables))
        received = connection.makefile("rb").read(LONGEST)
    line = b"".join(fastcgi.answer(received)).split(b"\r\n")[0].decode("latin-1")
    if not line.startswith("Status: "):
        raise ValueError(f"{address} answered {line!r}, which is no status")
    return int(line.split()[1])


def own(path: str) -> str:
    """The application's own path for /healthz or /readyz; any other path is returned unchanged.

    This reads lowtide.toml itself, because a check runs every few seconds and lowtide.application takes longer to load
    than the rest of it. A mistake in the file is told by the server, which does not start with it.
    """
    key = {"/healthz": "live", "/readyz": "ready"}.get(path)
    if not key or (folder := find()) is None:
        return path
    described = tomllib.loads((folder / NAME).read_text())
    if key not in described:
        raise ValueError(f"{folder / NAME} has no key {key}")
    return str(described[key])


def all_busy(folder: str) -> bool:
    """Whether uWSGI reports every worker for small requests as busy. One that hangs without a request is not busy."""
    from lowtide import sample, start

    try:
        small = start.settings(os.environ)["SMALL_WORKER_IDS"].split(",")
        workers = sample.stats(f"{folder}/stats.sock")["workers"]
    except (OSError, ValueError, start.Unusable):
        return False
    return all(worker["status"] == "busy" for worker in workers if str(worker["id"]) in small)


def main(arguments: list[str]) -> int:
    match arguments:
        case [path]:
            folder = beside.folder(os.environ.get("RUN_DIR", "/run/lowtide"))
            neighbour.give(folder)
            address = f"{folder}/small.sock"
        case [path, address]:
            pass
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    try:
        code = status(own(path), address)
    except TimeoutError:
        busy = all_busy(os.path.dirname(address))  # noqa: PTH120 - pathlib would make this start slower
        print(f"{path} on {address}: {'every worker is busy' if busy else 'timed out'}", file=sys.stderr)
        return 0 if busy else 1
    except (OSError, ValueError) as error:
        print(f"{path} on {address}: {error}", file=sys.stderr)
        return 1
    print(f"{path} answered {code}")
    return 0 if code == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
