"""Ask an application behind a uWSGI socket for a path, without a web server in between: a container's health check.

    python -m lowtide.ping /healthz             on $RUN_DIR/small.sock
    python -m lowtide.ping /healthz SOCKET

/healthz and /readyz are asked for where the application answers them (lowtide.toml), as nginx does.

Where nobody answers but every worker for small requests is in the middle of one, the application is alive: a database
that stalls must not have it killed, and a request that hangs is ended by uWSGI (harakiri).
Exit codes: 0 the answer is 200 or all are busy, 1 it is another or there is none, 2 wrong use.
"""

import os
import socket
import struct
import sys

from lowtide import application, sample, start

# A container's health check gets 5 s: late enough to sit out a large request, early enough to say why it failed.
SECONDS = 3.0


def status(path: str, address: str, seconds: float = SECONDS) -> int:
    """The HTTP status of GET `path` from the uWSGI server on the unix socket `address`.

    Raises OSError where nobody answers within `seconds` and ValueError where the answer is not HTTP.
    The request's layout: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
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
    body = b"".join(struct.pack("<H", len(word)) + word.encode() for pair in variables.items() for word in pair)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(address)
        connection.sendall(struct.pack("<BHB", 0, len(body), 0) + body)
        line = connection.makefile("rb").readline(200).decode("latin-1")
    if not line.startswith("HTTP/"):
        raise ValueError(f"{address} answered {line!r}, which is not HTTP")
    return int(line.split()[1])


def own(path: str) -> str:
    """The application's own path for one of the two that the stack asks for; any other path is itself."""
    if path not in ("/healthz", "/readyz") or application.find() is None:
        return path
    described = application.read()
    return described.live if path == "/healthz" else described.ready


def all_busy(folder: str) -> bool:
    """Whether uWSGI's master says that every worker for small requests has one. A worker that hangs idle takes none."""
    try:
        small = start.settings(os.environ)["SMALL_WORKER_IDS"].split(",")
        workers = sample.stats(f"{folder}/stats.sock")["workers"]
    except (OSError, ValueError, start.Unusable):
        return False
    return all(worker["status"] == "busy" for worker in workers if str(worker["id"]) in small)


def main(arguments: list[str]) -> int:
    match arguments:
        case [path]:
            address = f"{os.environ.get('RUN_DIR', '/run/lowtide')}/small.sock"
        case [path, address]:
            pass
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    try:
        code = status(own(path), address)
    except TimeoutError:
        busy = all_busy(os.path.dirname(address))  # noqa: PTH120 - as little to import as there can be
        print(f"{path} on {address}: {'every worker is busy' if busy else 'timed out'}", file=sys.stderr)
        return 0 if busy else 1
    except (OSError, ValueError, application.Invalid) as error:
        print(f"{path} on {address}: {error}", file=sys.stderr)
        return 1
    print(f"{path} answered {code}")
    return 0 if code == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
