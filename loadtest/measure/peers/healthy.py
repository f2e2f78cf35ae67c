"""The health check of a container whose server speaks HTTP: exit code 0 if the application answers its health path."""

import http.client
import os
import socket
import sys

from lowtide import application


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(3)
        self.sock.connect(self.host)


if __name__ == "__main__":
    connection = UnixConnection(f"{os.environ['RUN_DIR']}/small.sock")
    connection.request("GET", application.read().live, headers={"Host": "localhost"})
    sys.exit(connection.getresponse().status != 200)
