"""Memory is given back to the real kernel by the real allocator, and nothing is tried where that is impossible."""

import gc
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY, Mock

import pytest

from lowtide import gunicorn, memory
from lowtide.give_back import DEFAULT_THRESHOLD_MB, GiveBack, Unavailable, malloc_trim, threshold_mb
from lowtide.wsgi import AfterResponse, give_back

RETAINS = """
import sys
from lowtide import memory
from lowtide.give_back import GiveBack

back = GiveBack(8)
back()
idle = memory.rss_mb()
# What frees a heap block over 30 MiB raises the thresholds; strings over 512 bytes come from that heap.
block = bytearray(30 << 20)
del block
rows = ["x" * 2000 + str(i) for i in range(50_000)]
last = rows[-1]
del rows
retained = memory.rss_mb() - idle
given = back()
print(retained, memory.rss_mb() - idle, given, back())
"""


def test_what_a_large_request_retained_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", RETAINS], capture_output=True, text=True, check=True)
    retained, left, given, again = done.stdout.split()
    assert float(retained) > 50
    assert float(left) < 10
    assert (given, again) == ("True", "False")


def test_small_requests_give_nothing_back() -> None:
    calls: list[int] = []

    def trim(pad: int) -> int:
        calls.append(pad)
        return 1

    back = GiveBack(8, trim=trim)
    for _ in range(100):
        back()
    assert calls == []


def test_growth_over_the_threshold_gives_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rss = iter([50.0, 57.9, 58.0, 52.0, 53.0, 60.0, 51.0])
    monkeypatch.setattr(memory, "rss_mb", lambda: next(rss))
    back = GiveBack(8, trim=lambda pad: 1)
    # The threshold is 8. At 58, which is 8 over the 50 of the start, it trims, and 52 are left. 53 is less than 52 + 8,
    # so nothing happens; 60 is not less, and it trims again.
    assert [back(), back(), back(), back()] == [False, True, False, True]


def test_what_the_server_frees_later_goes_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    rss = iter([50.0, 80.0, 70.0, 52.0, 59.0])
    monkeypatch.setattr(memory, "rss_mb", lambda: next(rss))
    back = GiveBack(8, trim=lambda pad: bool(calls.append(pad)))  # type: ignore[func-returns-value]
    assert back()
    back.rest()
    back.rest()
    assert len(calls) == 2
    assert not back()


def test_a_forked_worker_starts_from_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rss = iter([20.0, 45.0, 50.0])
    monkeypatch.setattr(memory, "rss_mb", lambda: next(rss))
    back = GiveBack(8, trim=lambda pad: 1)
    back.mark()
    assert not back()


def test_cycles_are_collected_before_memory_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Node:
        def __init__(self) -> None:
            self.itself = self

    rss = iter([50.0, 80.0, 52.0])
    monkeypatch.setattr(memory, "rss_mb", lambda: next(rss))
    back = GiveBack(8)
    gc.disable()
    try:
        gone = weakref.ref(Node())
        assert gone() is not None
        assert back()
        assert gone() is None
    finally:
        gc.enable()


def test_a_threshold_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold_mb=0 must be over 0"):
        GiveBack(0)


@pytest.mark.parametrize(("value", "threshold"), [("", DEFAULT_THRESHOLD_MB), ("0", 0), ("2.5", 2.5)])
def test_the_threshold_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, threshold: float
) -> None:
    monkeypatch.setenv("GIVE_BACK_MB", value)
    assert threshold_mb() == threshold


@pytest.mark.parametrize("value", ["8MiB", "-1", "nan", "inf"])
def test_a_threshold_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GIVE_BACK_MB", value)
    with pytest.raises(ValueError, match=f"GIVE_BACK_MB={value} cannot be used: write a number of MiB"):
        threshold_mb()


def test_another_allocator_is_left_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise Unavailable("another allocator stands in for glibc's malloc")

    monkeypatch.setattr("lowtide.give_back.malloc_trim", refuse)
    back = GiveBack(8)
    assert (back(), back()) == (False, False)
    assert capfd.readouterr().err.count("another allocator") == 1


def test_musl_has_nothing_to_give_back_with(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """musl answers to the name of glibc's library, as seen with musl 1.2.3, and has no malloc_trim."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    back = GiveBack(8)
    assert (back(), back()) == (False, False)
    assert (
        capfd.readouterr().err == "lowtide: this libc has no malloc_trim (musl, for example): nothing is given back\n"
    )


@pytest.mark.skipif(not shutil.which("cc"), reason="builds a small allocator to preload: needs a C compiler, cc")
def test_a_preloaded_allocator_is_recognised(tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    source.write_text(
        "#include <stddef.h>\nvoid *__libc_malloc(size_t);\nvoid *malloc(size_t n) { return __libc_malloc(n); }\n"
        "size_t malloc_usable_size(void *block) { return block ? 1 : 0; }\n"
    )
    library = tmp_path / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    script = "from lowtide.give_back import malloc_trim; malloc_trim()"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"LD_PRELOAD": str(library)}, capture_output=True, text=True
    )
    assert "another allocator stands in" in done.stderr


def test_here_the_allocator_is_glibc() -> None:
    assert malloc_trim()(0) in (0, 1)


def test_threads_may_call_at_once() -> None:
    back = GiveBack(0.001)
    threads = [threading.Thread(target=lambda: [bytearray(1 << 20) and back() for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


class Body:
    """A response body that records when it is closed and freed."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __iter__(self) -> Iterator[bytes]:
        yield from (b"a", b"b")

    def close(self) -> None:
        self.log.append("closed")

    def __del__(self) -> None:
        self.log.append("freed")


def test_the_callback_comes_after_the_response_is_closed_and_free() -> None:
    log: list[str] = []
    application = AfterResponse(
        lambda environ, start: Body(log), lambda: log.append("done"), lambda environ: log.append("begin")
    )
    response = application({}, lambda *_: None)
    assert list(response) == [b"a", b"b"]
    response.close()  # type: ignore[attr-defined]
    response.close()  # type: ignore[attr-defined]
    assert log == ["begin", "closed", "freed", "done"]


def test_a_file_reaches_the_server_as_it_is() -> None:
    class File(Body):
        def read(self) -> bytes:
            return b""

    file = File([])
    assert AfterResponse(lambda environ, start: file, lambda: None)({}, lambda *_: None) is file


def test_an_application_that_raises_still_calls_back() -> None:
    log: list[str] = []

    def broken(environ: object, start: object) -> list[bytes]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        AfterResponse(broken, lambda: log.append("done"))({}, lambda *_: None)
    assert log == ["done"]


def test_what_the_server_frees_later_goes_back_after_the_next_response(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    gave = iter([True, False])

    class Back:
        def __init__(self, threshold_mb: float) -> None:
            log.append(f"over {threshold_mb}")

        def __call__(self) -> bool:
            log.append("look")
            return next(gave)

        def rest(self) -> None:
            log.append("rest")

    monkeypatch.setattr("lowtide.wsgi.GiveBack", Back)
    application = give_back(lambda environ, start: [b"a"], 5)
    for _ in range(2):
        application({}, lambda *_: None).close()  # type: ignore[attr-defined]
    assert log == ["over 5", "look", "look", "rest"]


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """The processes of the tests freeze what they have loaded (tests/conftest.py); this one has frozen nothing."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("unfrozen")
def test_a_gunicorn_worker_freezes_what_it_has_loaded() -> None:
    class Worker:
        def handle(self, answer: str) -> str:
            return answer

    worker = Worker()
    try:
        gunicorn.give_back(worker)
        assert gc.get_freeze_count() > 0
        assert worker.handle("done") == "done"
    finally:
        gc.unfreeze()


def test_a_gunicorn_worker_of_another_kind_is_told_so() -> None:
    worker = Mock(spec_set=["wsgi", "log"], wsgi=lambda environ, start_response: [b""])
    application = worker.wsgi
    try:
        gunicorn.give_back(worker)
    finally:
        gc.unfreeze()
    worker.log.warning.assert_called_once_with("lowtide: %s is a worker of another kind: nothing is given back", ANY)
    assert worker.wsgi is application


@pytest.mark.usefixtures("unfrozen")
def test_a_gunicorn_worker_with_a_threshold_of_nothing_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVE_BACK_MB", "0")

    class Worker:
        handle = "as it was"

    worker = Worker()
    gunicorn.give_back(worker)
    assert worker.handle == "as it was"
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize(
    ("grown_mb", "stays_mb", "live_mb"),
    [(200, 14, 0), (30, 30, 30), (50, 20, 20)],
    ids=["large request", "module", "module made of a file"],
)
def test_what_stays_is_told_apart(
    grown_mb: float, stays_mb: float, live_mb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What small objects keep from going back is a small part of what a request took; memory in use is a large one."""
    rss = iter([50.0, 50 + grown_mb, 50 + stays_mb])
    monkeypatch.setattr(memory, "rss_mb", lambda: next(rss))
    back = GiveBack(8, trim=lambda _: 1)
    assert back()
    assert (back.kept_mb, back.live_mb) == (stays_mb, live_mb)


def test_without_proc_it_says_so_and_does_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(pid: int | str = "self") -> float:
        raise FileNotFoundError(f"/proc/{pid}/statm")

    monkeypatch.setattr(memory, "rss_mb", missing)
    monkeypatch.setattr("os.access", lambda *_: False)
    back = GiveBack(8)
    assert not back()
    back.mark()
    back.rest()
    assert "there is no /proc" in capsys.readouterr().err
