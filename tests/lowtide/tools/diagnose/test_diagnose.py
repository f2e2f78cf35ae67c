"""Each planted application gets the verdict that is true of it. A table lists them; each runs in its own processes.

`make test` measures one or two rows of each kind, NIGHT=1 all of them. The whole table twenty times:

    DIAGNOSE_ATTEMPTS=20 .venv/bin/pytest -m "" -n 0 -o timeout=3000 -k truth_table \\
        tests/lowtide/tools/diagnose/test_diagnose.py
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from django.db import connections
from django.utils.connection import BaseConnectionHandler

from lowtide.tools import cli
from lowtide.tools.diagnose import django_state, run
from lowtide.tools.diagnose.request import Request
from lowtide.tools.diagnose.rounds import Job
from lowtide.tools.diagnose.verdict import EXIT_CODES, Diagnosis
from tests import described
from tests.lowtide.tools.diagnose.planted import habits
from tests.machine import CHECKOUT

pytestmark = pytest.mark.slow

PLANTED = "tests.lowtide.tools.diagnose.planted"


def diagnose(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["diagnose", "--format", "json", "--picture", "", "--chdir", str(CHECKOUT), *arguments])
    out, err = capsys.readouterr()
    assert out, err
    return code, json.loads(out)


def planted(capsys: pytest.CaptureFixture[str], name: str, *arguments: str, times: int = 40) -> dict[str, Any]:
    app = f"{PLANTED}.{name}" if ":" in name else f"{PLANTED}.{name}:application"
    code, document = diagnose(capsys, "--app", app, "--path", "/", "--times", str(times), *arguments)
    assert code == EXIT_CODES.get(document["verdict"], 0), document
    assert document["schema"] == 1
    return document


# Application, path, verdict, requests of the first round.
TABLE = [
    ("clean:application", "/", "clean", 20),
    ("leak_list:application", "/", "leak", 20),
    ("leak_dict:application", "/", "leak", 20),
    ("leak_signal:application", "/", "leak", 20),
    ("leak_arrays:application", "/", "leak", 40),
    ("cache_filling:application", "/", "cache", 40),
    ("cache_large:application", "/", "cache", 20),
    ("native:application", "/", "native", 20),
    ("native_mapped:application", "/", "native", 12),
    ("native_zlib:application", "/", "native", 20),
    ("retention:application", "/", "retention", 20),
    ("fragmentation:application", "/", "fragmentation", 10),
    ("fragmentation_malloc:application", "/", "fragmentation", 10),
    ("django_debug:application", "/", "debug", 20),
    *((f"habits:{name}", "/", "cache", 40) for name in vars(habits) if name.startswith(("cache_", "kept_for_"))),
    *((f"habits:{name}", "/", "leak", 40) for name in vars(habits) if name.startswith("leak_")),
    ("habits:sessions_swept", "/", "cache", 40),
    ("habits:pruned_cursors", "/", "clean", 40),
    ("habits:pruned_references", "/", "clean", 40),
    ("habits:flushed_events", "/", "cache", 40),
    ("habits:flushed_log", "/", "cache", 40),
    ("habits:context_set", "/", "clean", 40),
    ("habits:thread_each", "/", "clean", 40),
    ("habits:thread_crew", "/", "cache", 40),
    ("habits:pool_of_connections", "/", "cache", 20),
    ("habits:cycles", "/", "clean", 40),
    ("habits:exceptions", "/", "clean", 40),
    ("habits:counted", "/", "clean", 40),
    ("habits:interned", "/", "clean", 40),
    ("habits:native_pool", "/", "clean", 40),
    ("habits:native_emptied", "/", "clean", 40),
    ("habits:native_database", "/", "clean", 40),
    ("site:application", "/cursors/", "clean", 40),
    ("site:application", "/cached/", "cache", 40),
    ("site:application", "/visits/", "cache", 40),
    ("site:application", "/rendered/", "clean", 40),
    ("site:application", "/streamed/", "clean", 40),
    ("site:application", "/leak_receivers/", "leak", 40),
    ("site:application", "/leak_requests/", "leak", 40),
]
# Every other leak and cache takes one of the ways that these take.
BY_NIGHT = {
    "leak_dict:application",
    "leak_arrays:application",
    # A fifth of the processor time of this file: each kept request is a graph that the tracing process walks.
    "site:application/leak_requests/",
    *(f"habits:leak_{kind}" for kind in ("lru_without_bound", "handlers", "in_a_thread_local", "at_exit")),
    *(f"habits:leak_{kind}" for kind in ("connections", "classes", "warnings")),
    *(f"habits:cache_{kind}" for kind in ("lru", "few_keys", "recent", "cleared", "on_a_method")),
    *(f"habits:{kind}" for kind in ("pool_of_connections", "cycles", "exceptions", "counted", "interned")),
    *(f"habits:{kind}" for kind in ("kept_for_five_minutes", "context_set", "flushed_events", "native_database")),
}
Row = tuple[str, str, int, int]
ATTEMPTS = range(int(os.environ.get("DIAGNOSE_ATTEMPTS", "1")))


@pytest.fixture(scope="module")
def diagnoses(request: pytest.FixtureRequest) -> Iterator[Callable[[Row], Diagnosis]]:
    """The outcome of a row of the table. The rows of all tests that were asked for are measured side by side."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows: dict[Row, Future[Diagnosis]] = {}
        for item in request.session.items:
            given = getattr(item, "callspec", None)
            if item.path == request.path and given and "row" in given.params:
                rows.setdefault(given.params["row"], pool.submit(_judged, *given.params["row"]))
        yield lambda row: rows[row].result()


def _judged(app: str, path: str, times: int, attempt: int) -> Diagnosis:
    job = Job(f"{PLANTED}.{app}", Request(path), times, warm_up=5, at_most=10_000, patience_s=1500)
    return run.diagnose(job, 2000, str(CHECKOUT))[0]


def planted_rows() -> Iterator[ParameterSet]:
    for attempt in ATTEMPTS:
        for app, path, verdict, times in TABLE:
            marks = [pytest.mark.night] * (bool({app, app + path} & BY_NIGHT) or attempt > 0)
            name = f"{app.replace(':application', path)}-{attempt}"
            yield pytest.param((app, path, times, attempt), verdict, marks=marks, id=name)


@pytest.mark.parametrize(("row", "verdict"), list(planted_rows()))
def test_truth_table(diagnoses: Callable[[Row], Diagnosis], row: Row, verdict: str) -> None:
    diagnosis = diagnoses(row)
    assert diagnosis.verdict == verdict, diagnosis


def in_table(name: str) -> pytest.MarkDecorator:
    """Gives a test the row of this application."""
    return pytest.mark.parametrize("row", [(app, path, times, 0) for app, path, _, times in TABLE if app == name])


def test_what_is_not_known_yet_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A dictionary is emptied at a thousand entries, and the run ends before that."""
    document = planted(capsys, "habits:cache_cleared", "--at-most", "200", times=20)
    assert document["verdict"] == "growing"
    assert document["evidence"]["requests"] >= 200
    assert "not known yet" in document["evidence"]["summary"]


def test_progress_is_told_while_it_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    app = f"{PLANTED}.habits:flushed_events"
    words = ["--app", app, "--path", "/", "--picture", "", "--chdir", str(CHECKOUT)]
    assert cli.main(["diagnose", *words]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert "not known where this application writes" in lines[0]
    assert "still grows after 40 requests" in lines[1]


def test_it_says_where_the_application_writes_before_it_asks(capfd: pytest.CaptureFixture[str]) -> None:
    """The first request raises, and by then the database has been named."""
    words = ["--app", f"{PLANTED}.site:refusing", "--chdir", str(CHECKOUT), "--path", "/"]
    assert cli.main(["diagnose", *words]) == 2
    first, second = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"lowtide diagnose: the request really runs; .* writes to: database /.*/db", first)
    assert second.endswith("RuntimeError: asked")


def test_the_same_django_application_is_clean_without_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_DEBUG", "off")
    document = planted(capsys, "django_debug", times=20)
    assert (document["verdict"], document["confidence"]) == ("clean", "high"), document


@in_table("leak_list:application")
def test_a_leak_is_shown_where_it_is_allocated_and_held(diagnoses: Callable[[Row], Diagnosis], row: Row) -> None:
    evidence = diagnoses(row).evidence
    assert evidence["growing_lines"][0]["line"].endswith("planted/leak_list.py:9")
    assert [link["type"] for link in evidence["chain"]] == ["module", "list", "bytes"]
    assert [link["label"] for link in evidence["chain"]][:2] == [f"{PLANTED}.leak_list", ".kept"]


@in_table("leak_signal:application")
def test_a_leak_through_a_closure_is_followed_to_the_registry(diagnoses: Callable[[Row], Diagnosis], row: Row) -> None:
    evidence = diagnoses(row).evidence
    labels = [link["label"] for link in evidence["chain"]]
    assert labels[:3] == [f"{PLANTED}.leak_signal", ".saved", ".receivers"]
    grown = {item["type"]: item["per_request"] for item in evidence["growing_types"]}
    assert round(grown["builtins.function"]) == 1


@in_table("native_zlib:application")
def test_native_growth_names_the_c_function(diagnoses: Callable[[Row], Diagnosis], row: Row) -> None:
    diagnosis = diagnoses(row)
    first = diagnosis.evidence["c_functions"][0]
    assert first["function"].startswith("deflateInit")
    assert first["line"].endswith("planted/native_zlib.py:15")
    # The documentation of zlib says that level 6 takes a little more than 256 KiB for its windows.
    assert 256 * 1024 <= first["bytes_per_request"] < 300 * 1024
    assert "deflateInit" in diagnosis.next


@in_table("native_mapped:application")
def test_native_growth_that_memray_cannot_see_is_said(diagnoses: Callable[[Row], Diagnosis], row: Row) -> None:
    diagnosis = diagnoses(row)
    assert diagnosis.evidence["c_functions"] == []
    assert "memray saw no allocation" in diagnosis.next


def test_without_memray_the_verdict_is_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "memray" else find_spec(name))
    document = planted(capsys, "native_zlib", times=20)
    assert document["verdict"] == "native"
    assert "pip install memray" in document["next"]


@in_table("cache_large:application")
def test_a_cache_that_is_not_full_is_told_by_its_bound(diagnoses: Callable[[Row], Diagnosis], row: Row) -> None:
    diagnosis = diagnoses(row)
    assert diagnosis.evidence["bounded_container"]["bound"] == 100_000
    assert diagnosis.confidence != "high"


def headers() -> list[str]:
    return [f"--header={name}:{value}" for name, value in described.headers(described.large()).items()]


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in described.VARIABLES.items():
        monkeypatch.setenv(name, value)


# test_docs.py sends the same request with fewer records.
@pytest.mark.night
@pytest.mark.usefixtures("variables")
def test_the_application_retains_and_does_not_leak(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The large request of the experiment: 10,000 records, 22 MB."""
    feed = tmp_path / "feed"
    feed.write_bytes(described.large_body(tmp_path))
    arguments = ["--app", described.APPLICATION.wsgi, "--chdir", str(CHECKOUT / "app"), "--https", "--times", "10"]
    arguments += ["--path", described.large().path, "--body", str(feed), *headers()]
    code, document = diagnose(capsys, *arguments, "--warm-up", "2")
    assert (code, document["verdict"]) == (0, "retention"), document
    assert document["evidence"]["statuses"] == {"200 OK": 12}


def test_the_picture_and_the_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CHECKOUT)
    picture = tmp_path / "memory.png"
    app = f"{PLANTED}.leak_signal:application"
    code = cli.main(["diagnose", "--app", app, "--path", "/", "--times", "10", "--picture", str(picture)])
    out = capsys.readouterr().out
    assert code == 1
    assert out.startswith("Verdict: leak (confidence: high)")
    assert "allocated at tests/lowtide/tools/diagnose/planted/leak_signal.py:20.\n" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_answers_that_are_no_success_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    document = planted(capsys, "refusing", times=10)
    assert document["confidence"] == "low"
    assert "301 Moved Permanently" in document["evidence"]["reservations"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--app", "no_such_module:application", "--path", "/"], "No module named 'no_such_module'"),
        (["--app", f"{PLANTED}.clean:nothing", "--path", "/"], "has no attribute 'nothing'"),
        (["--app", f"{PLANTED}.refusing:application", "--path", "/raise"], "RuntimeError: no database here"),
        (["--app", f"{PLANTED}.clean:application"], "--path"),
        (["--app", f"{PLANTED}.clean:application", "--path", "/", "--chdir", "/nowhere"], "no such folder"),
        # The command says this before it measures, and not after.
        (["--app", "no_such_module:a", "--path", "/", "--picture", "/nowhere/a.png"], "/nowhere/a.png: no such folder"),
        (["--pid", "999999999"], "no such process"),
    ],
)
def test_what_cannot_run_is_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert cli.main(["diagnose", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert err.count("\n") == 1


def test_a_missing_library_is_named_with_the_command_that_installs_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LIBRARIES", ("objgraph", "no_such_library"))
    assert cli.main(["diagnose", "--app", f"{PLANTED}.clean:application", "--path", "/"]) == 2
    assert capsys.readouterr().err.endswith("no_such_library missing: python3 -m pip install no_such_library\n")


def test_a_running_process_that_grows_and_one_that_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    grower = "import time; kept = []\nfor _ in range(600): kept.append(bytearray(b'x' * 200_000)); time.sleep(0.05)"
    for program, verdict, code in ((grower, "growing", 3), ("import time; time.sleep(30)", "clean", 0)):
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            try:
                time.sleep(0.3)
                assert cli.main(["diagnose", "--pid", str(process.pid), "--seconds", "2", "--format", "json"]) == code
            finally:
                process.kill()
        assert json.loads(capsys.readouterr().out)["verdict"] == verdict


def test_a_handler_of_an_old_django_is_not_asked_for_more_than_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Django 4.1 `all()` takes no argument, and makes the connections that are missing."""

    def everything(handler: object) -> None:
        pytest.fail("this makes connections")

    monkeypatch.setattr(BaseConnectionHandler, "all", everything)
    assert connections["default"] in django_state.initialized("django.db", "connections")
