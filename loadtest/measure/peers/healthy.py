"""The health check of a container whose server speaks HTTP or uwsgi: exit code 0 if the application answers 200.

python -m loadtest.measure.peers.healthy http
"""

import os
import socket
import sys

from lowtide import application

SECONDS = 3


def request(protocol: str, path: str) -> bytes:
    """GET `path`, as bytes of this protocol."""
    if protocol == "http":
        return f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    names = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "", "HTTP_HOST": "localhost"}
    # Each name and each value stand behind their length (https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html).
    fields = (word.encode() for pair in names.items() for word in pair)
    variables = b"".join(len(word).to_bytes(2, "little") + word for word in fields)
    return b"\0" + len(variables).to_bytes(2, "little") + b"\0" + variables


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(f"{os.environ['RUN_DIR']}/small.sock")
        connection.sendall(request(sys.argv[1], application.read().live))
        # "HTTP/1.1 200 OK"
        sys.exit(connection.recv(12)[9:] != b"200")
