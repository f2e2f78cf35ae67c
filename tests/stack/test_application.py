"""What app/lowtide.toml says reaches nginx and uWSGI, for any application."""

from pathlib import Path

import pytest

from tests.machine import free_port
from tests.stack.conftest import PLANTED, Stack, Start

pytestmark = pytest.mark.stack


def test_the_stack_runs_an_application_by_its_description(start: Start) -> None:
    stack = start(APP_DIR=str(PLANTED))
    # Load balancers ask for the same two paths, whatever paths the application has for them.
    assert stack.get("/healthz").headers["X-Path"] == "/alive"
    assert stack.get("/readyz?x=1").headers["X-Path"] == "/prepared"
    large_worker = stack.get("/big").text
    for path in ("/big/er", "/bigger?x=1", "/one/"):
        assert stack.get(path).text == large_worker, path
    for path in ("/", "/one", "/one/more", "/not/big"):
        assert stack.get(path).text != large_worker, path


@pytest.mark.parametrize(
    ("line", "instead", "says"),
    [
        ('live = "/alive"', "live = 1", "live = 1 cannot be used: write a path, for example"),
        ('page = "/"', "", "page is missing: write the path of a page"),
        ("large =", "huge =", "huge is no key: write one of name, wsgi, manage, page,"),
    ],
)
def test_a_mistake_stops_the_start_with_one_line(
    line: str, instead: str, says: str, stack: Stack, tmp_path: Path
) -> None:
    for path in PLANTED.glob("*.*"):
        (tmp_path / path.name).write_text(path.read_text().replace(line, instead))
    settings = {"APP_DIR": str(tmp_path), "PORT": str(free_port()), "VAR_DIR": str(tmp_path / "var")}
    done = Stack("", stack.var, stack.environment | settings).control("up")
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path}/lowtide.toml: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
