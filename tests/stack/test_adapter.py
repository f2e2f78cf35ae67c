"""lowtide.uwsgi copes with what applications and configurations do: own hooks, hangs, odd switches, no master."""

import signal
import time
from pathlib import Path

import pytest
import requests

from tests.stack.bare import Serve, Server

pytestmark = pytest.mark.stack


def test_hooks_that_the_application_sets_at_its_import_run_with_ours(serve: Serve) -> None:
    """uwsgidecorators sets post_fork_hook. Recycles must be logged all the same."""
    server = serve("--max-requests", "3", HOOKS="1")
    for _ in range(4):
        server.get("/")
    assert server.replaced()[0].event == "requests"
    assert server.log().count("their fork") == 2
    assert "overwritten" not in server.log()


def test_a_hook_that_is_overwritten_later_is_said_and_runs_with_ours(serve: Serve) -> None:
    server = serve("--max-requests", "5")
    for path in ("/overwrite", *"////"):
        server.get(path)
    assert server.replaced()[0].event == "requests"
    log = server.wait_for("their exit")
    (line,) = [line for line in log.splitlines() if line.startswith('{"event": "overwritten"')]
    assert '"hook": "uwsgi.atexit"' in line


@pytest.mark.parametrize("options", [("--max-worker-lifetime", "2"), ("--max-requests", "2")])
def test_a_worker_that_hangs_in_its_exit_is_replaced(serve: Serve, options: tuple[str, ...]) -> None:
    server = serve(*options, HANG_AT_EXIT="1")
    server.get("/")
    reason = options[0].removeprefix("--max-").removeprefix("worker-")
    assert server.replaced(30)[0].event == reason
    server.get("/")
    assert server.process.poll() is None


def ended(server: Server, wait_s: float = 30) -> bool:
    deadline = time.monotonic() + wait_s
    while server.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return server.process.poll() is not None


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_stop_ends_a_request_that_hangs(serve: Serve, threads: str) -> None:
    """uWSGI's master waits for its workers without looking at harakiri."""
    server = serve("--harakiri", "2", "--threads", threads)
    server.begin("/hang/for/ever")
    server.process.send_signal(signal.SIGTERM)
    assert ended(server), server.log()


def test_a_stop_ends_a_worker_that_hangs_in_its_exit(serve: Serve) -> None:
    server = serve(HANG_AT_EXIT="1")
    server.process.send_signal(signal.SIGTERM)
    assert ended(server), server.log()


def test_a_stop_is_heard_by_a_worker_that_was_just_forked(serve: Serve) -> None:
    """A worker that was just forked has no handler for the signal yet. The master would wait for it for ever."""
    server = serve("--max-requests", "2", HOOKS="1", FORK_SECONDS="2")
    server.get("/")
    deadline = time.monotonic() + 20
    while server.log().count("their fork") < 2:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.02)
    server.process.send_signal(signal.SIGTERM)
    assert ended(server), server.log()


@pytest.mark.parametrize("options", [("--max-requests", "3"), ("--max-worker-lifetime", "2"), ()])
def test_what_the_application_registered_with_atexit_runs(serve: Serve, options: tuple[str, ...]) -> None:
    """They run with each kind of recycle, that of an idle worker included, and with a stop."""
    server = serve(*options)
    (pid,) = server.pids()
    for _ in range(2):
        server.get("/" if options else "/keep")
    server.wait_for(f"flushed {pid}")
    (successor,) = server.pids()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for(f"flushed {successor}")


def more(folder: Path, *lines: str) -> tuple[str, str]:
    """A second file with these lines, which uWSGI reads after the one that ships."""
    path = folder / "more.ini"
    path.write_text("\n".join(("[uwsgi]", *lines, "")))
    return "--ini", str(path)


def test_false_is_not_lazy(serve: Serve, tmp_path: Path) -> None:
    server = serve(*more(tmp_path, "lazy-apps = false"), "--max-requests", "2")
    server.get("/")
    assert server.replaced()[0].event == "requests"
    assert "is not loaded by" not in server.log()
    assert '"away_s": null' not in server.log()


def test_a_function_that_makes_the_application(serve: Serve) -> None:
    server = serve("--module", "planted:create_app()", "--max-requests", "2")
    server.get("/")
    assert server.replaced()[0].event == "requests"
    assert "Traceback" not in server.log()
    assert "is not loaded by" not in server.log()


def test_an_application_that_is_not_there_is_left_to_uwsgi_to_say(serve: Serve) -> None:
    with pytest.raises(AssertionError) as ended:
        serve("--module", "planted:missing")
    assert "Traceback" not in str(ended.value)
    assert "no app loaded" in str(ended.value)


def test_without_a_master_it_serves(serve: Serve, tmp_path: Path) -> None:
    server = serve(*more(tmp_path, "master = false"))
    server.get("/keep")
    assert "Traceback" not in server.log()
    server.process.send_signal(signal.SIGINT)
    assert ended(server), server.log()


def test_signals_do_not_fill_the_pipes_of_resting_workers(serve: Serve) -> None:
    """lowtide has each worker look once a second whether it is idle, and nobody empties the pipe of one that rests."""
    server = serve("--cheaper", "1", WORKERS="3")
    for _ in range(6):
        server.get("/signals")
        time.sleep(0.3)
    assert server.pids()[1:] == [0, 0]
    assert "could not deliver signal" not in server.log()


def test_only_its_own_user_reads_the_figures(serve: Serve) -> None:
    """nginx is in the group to which the other sockets are open."""
    server = serve()
    server.wait_for("chmod 600")
    deadline = time.monotonic() + 10
    while (mode := (server.folder / "stats.sock").stat().st_mode & 0o777) != 0o600:
        assert time.monotonic() < deadline, oct(mode)
        time.sleep(0.05)
    assert (server.folder / "small.sock").stat().st_mode & 0o777 == 0o660


def test_sighup_ends_nobody(serve: Serve) -> None:
    """uWSGI would end all workers before it loads the new code, which may fail; as a wheel it loses its environment."""
    server = serve(WORKERS="2")
    pids = server.pids()
    server.wait_for("unix_signal:1 uwsgi_unblock_signal")
    server.process.send_signal(signal.SIGHUP)
    for _ in range(20):
        assert requests.get(server.url, timeout=10).status_code == 200
        time.sleep(0.1)
    assert server.pids() == pids
    # A stop still works afterwards.
    server.process.send_signal(signal.SIGTERM)
    assert ended(server), server.log()
