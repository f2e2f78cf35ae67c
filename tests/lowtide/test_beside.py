"""A server that is started beside another one, and takes its place."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowtide import beside, ping


@pytest.fixture
def first(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "small.sock"))
        listening.listen()
        yield listening


def listen(folder: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{folder}/small.sock")
    listening.listen()
    return listening


def test_it_starts_in_the_usual_place_where_nobody_serves(tmp_path: Path, first: socket.socket) -> None:
    first.close()
    # A server that was killed leaves its socket behind.
    assert (tmp_path / "small.sock").exists()
    assert beside.prepare(str(tmp_path)) == beside.folder(str(tmp_path)) == str(tmp_path)


def test_it_takes_the_place_of_the_one_that_serves(
    tmp_path: Path, first: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = beside.prepare(str(tmp_path))
    assert own == str(tmp_path / socket.gethostname()) == beside.folder(str(tmp_path))
    with listen(own) as second:
        Path(own, "counts").write_text("of the second")
        Path(own, "stats.sock").write_text("figures of the second")
        (tmp_path / "counts").write_text("of the first")
        with socket.socket(socket.AF_UNIX) as early, socket.socket(socket.AF_UNIX) as late:
            early.connect(str(tmp_path / "small.sock"))
            beside.take_over(tmp_path, None)
            late.connect(str(tmp_path / "small.sock"))
            early.sendall(b"early")
            late.sendall(b"late")
            # The look, whether somebody serves.
            first.accept()
            # Each server has what came while it had the place.
            assert first.accept()[0].recv(9) == b"early"
            assert second.accept()[0].recv(9) == b"late"
    assert (tmp_path / "counts").read_text() == "of the second"
    assert beside.folder(str(tmp_path)) == str(tmp_path)
    # uWSGI removes the file at the path of its figures when it ends.
    (tmp_path / "stats.sock").unlink()
    beside.settle(tmp_path)
    assert (tmp_path / "stats.sock").read_text() == "figures of the second"
    assert not Path(own).exists()
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    assert beside.main(["take-over"]) == 2


def test_a_full_queue_is_a_server_that_serves(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(str(tmp_path / "small.sock"))
        listening.listen(0)
        waiting.connect(str(tmp_path / "small.sock"))
        assert beside.answers(tmp_path / "small.sock")


def test_files_of_both_versions_are_there(tmp_path: Path) -> None:
    static, published = tmp_path / "image", tmp_path / "run/static"
    (static / "css").mkdir(parents=True)
    (static / "css/new.css").write_text("new")
    (published / "css").mkdir(parents=True)
    for name, days in (("earlier", 2), ("forgotten", beside.KEPT_DAYS + 1)):
        file = published / f"css/{name}.css"
        file.write_text(name)
        os.utime(file, (time.time() - days * 86400,) * 2)
    beside.publish(static, tmp_path / "run")
    assert sorted(file.name for file in published.rglob("*.css")) == ["earlier.css", "new.css"]


def test_the_health_check_asks_its_own_server(
    tmp_path: Path, first: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a new server counted as healthy before it has loaded, because the old one answers."""
    monkeypatch.setenv("RUN_DIR", str(tmp_path))
    beside.prepare(str(tmp_path))
    assert ping.main(["/healthz"]) == 1
