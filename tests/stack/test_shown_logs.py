"""`make logs` makes lines readable on a terminal, and leaves them alone elsewhere."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stack import logs

LOG = (
    '{"event": "log", "time": 0, "level": "error", "request_id": "5f", '
    '"logger": "shop", "message": "No", "exception": "a\\nb"}'
)
REQUEST = (
    '{"event": "request", "time": 0, "level": "info", "request_id": "5f", '
    '"method": "GET", "uri": "/a?\\u001b[2J", "status": 200, "agent": ""}'
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (LOG, "00:00:00 ERROR   shop No request_id=5f\na\nb"),
        (f"nginx-1  | {REQUEST}", "nginx-1  | 00:00:00 INFO    GET /a??[2J 200 request_id=5f"),
        ('{"event": "recycle", "time": 0, "worker": 2, "reason": "rss"}', "00:00:00 INFO    recycle rss worker=2"),
        ("DAMN ! worker 1 died \033[2J", "DAMN ! worker 1 died ?[2J"),
        ('{"event": "log", "time": "x"}', '{"event": "log", "time": "x"}'),
        ('{"event": "log", "time": 1e999}', '{"event": "log", "time": 1e999}'),
        ("[1]", "[1]"),
        ("{", "{"),
    ],
)
def test_lines(line: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert logs.readable(line, colours=False) == shown


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_gets_readable_lines(tmp_path: Path, *, terminal: bool) -> None:
    (tmp_path / "nginx.log").write_text(REQUEST + "\n")
    code = (
        "import os, sys; from pathlib import Path; from stack import logs;"
        "logs.show(['tail', '--verbose', 'nginx.log'], os.environ, Path(sys.argv[1]))"
    )
    reading, writing = os.openpty() if terminal else os.pipe()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], stdout=writing, check=True, timeout=60)
    os.close(writing)
    said = os.read(reading, 1 << 16).decode().splitlines()
    os.close(reading)
    if terminal:
        assert said[0].startswith("nginx       | ")
        assert said[0].endswith("GET /a??[2J 200 request_id=5f")
    else:
        assert said == ["==> nginx.log <==", REQUEST]
