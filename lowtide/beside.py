"""Starts a server beside one that serves, and lets it take its place, so that no request is refused (`make replace`).

With START_BESIDE=1 a server that finds another one on the sockets in RUN_DIR does not take them: it uses a folder of
its own below RUN_DIR, named after its host (in a container that is the container's id), until it is told to take over:

    python -m lowtide.beside take-over     run both where the new server runs
    python -m lowtide.beside settle        after the old one has ended

nginx connects to a path for each request. A socket that is renamed to that path gets the next connection, and the old
server still has every connection that was made before. When the old server ends, it removes no socket for requests that
another server has put in its place, because it compares inodes (core/uwsgi.c:1668). It does remove stats.sock, so the
new server keeps a second name of its own until then.
"""

import os
import shutil
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

# Days after which a replacement deletes the static files that earlier versions have left in RUN_DIR/static. Until
# then a page that a browser has loaded from an earlier version still finds its files.
KEPT_DAYS = 30
# The second name of stats.sock.
TAKEN_OVER = "taken-over.sock"


def _own(run_dir: Path) -> Path:
    return run_dir / socket.gethostname()


def folder(run_dir: str) -> str:
    """Where this container's server has its sockets: RUN_DIR, or a folder below it until the server takes over."""
    own = _own(Path(run_dir))
    return str(own) if own.is_dir() and not (own / TAKEN_OVER).exists() else run_dir


def answers(address: Path) -> bool:
    """Whether a server listens on this unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(address))
        except OSError as error:
            # A queue that is full has a server behind it.
            return isinstance(error, (TimeoutError, BlockingIOError))
        return True


def prepare(run_dir: str) -> str:
    """The folder for a server that is about to start here, empty if it is one of its own."""
    own = _own(Path(run_dir))
    shutil.rmtree(own, ignore_errors=True)
    if not answers(Path(run_dir, "small.sock")):
        return run_dir
    own.mkdir(mode=0o770)
    return str(own)


def publish(static: Path, run_dir: Path) -> None:
    """Copy this version's static files to where nginx looks for those that its own image does not have."""
    published = run_dir / "static"
    oldest = time.time() - KEPT_DAYS * 86400
    for path in published.rglob("*"):
        if path.is_file() and path.stat().st_mtime < oldest:
            path.unlink()
    # Not copy2: the time of the copy says when the file was last part of a version.
    shutil.copytree(static, published, copy_function=shutil.copyfile, dirs_exist_ok=True)


def take_over(run_dir: Path, static: Path | None) -> None:
    """Let nginx's next request reach this container's server."""
    own = _own(run_dir)
    if static and static.is_dir():
        publish(static, run_dir)
    for path in sorted(own.iterdir()):
        if path.name == "stats.sock":
            (own / TAKEN_OVER).hardlink_to(path)
        path.replace(run_dir / path.name)


def settle(run_dir: Path) -> None:
    """Put back what the old server has removed, and remove what is left of this one's start."""
    own = _own(run_dir)
    with suppress(FileNotFoundError):
        (own / TAKEN_OVER).replace(run_dir / "stats.sock")
    shutil.rmtree(own, ignore_errors=True)


def main(words: list[str]) -> int:
    run_dir, static = Path(os.environ["RUN_DIR"]), os.environ.get("STATIC_ROOT")
    if words not in (["take-over"], ["settle"]):
        print(__doc__, file=sys.stderr)
        return 2
    if words == ["settle"]:
        settle(run_dir)
        return 0
    if folder(str(run_dir)) == str(run_dir):
        print(f"No server was started beside another one here: {_own(run_dir)} does not exist.", file=sys.stderr)
        return 2
    take_over(run_dir, Path(static) if static else None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
