"""`make dev`: Django's own server with DEBUG and the toolbar, which loads changed code anew."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests import planted
from tests.machine import CHECKOUT, free_port

# Seconds. Django looks at its files once a second, and starts anew in less than this.
RESTARTED_S = 15


def wait_for(url: str, text: str, server: subprocess.Popen[str], changed: Path | None = None) -> requests.Response:
    """The answer of this page once it has this text in it.

    Django does not notice a change before its first look at the files, which may come after the first answer on a slow
    machine. So a file that was `changed` is changed again now and then.
    """
    deadline, again = time.monotonic() + 60, time.monotonic() + RESTARTED_S
    while time.monotonic() < deadline and server.poll() is None:
        if changed and time.monotonic() > again:
            changed.touch()
            again += RESTARTED_S
        try:
            answer = requests.get(url, timeout=20)
            if text in answer.text:
                return answer
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    pytest.fail(f"{url} never had {text!r} in it")


def test_a_change_of_the_code_is_served_at_once(tmp_path: Path) -> None:
    if not (CHECKOUT / "app/config/urls.py").exists():
        pytest.skip("the application has no app/config/urls.py, which this test changes")
    copy, port = planted.checkout(tmp_path), free_port()
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "SECRET_KEY")}
    # HTTPS and BIND are for the stack, and `make dev` does not follow them.
    environment |= {"PORT": str(port), "BIND": "0.0.0.0", "HTTPS": "on", "RUNTIME": "docker"}  # noqa: S104
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "ALLOWED_HOSTS": "127.0.0.1"}
    command = [sys.executable, "-m", "stack", "--env-file", os.devnull, "dev"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=copy, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}/admin/login/"
        assert wait_for(url, "djDebug", server).status_code == 200
        urls = copy / "app/config/urls.py"
        planted.append(urls, '\nadmin.site.site_header = "changed while it runs"\n')
        wait_for(url, "changed while it runs", server, changed=urls)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.wait(30)
    assert (copy / "var/db.sqlite3").exists()
