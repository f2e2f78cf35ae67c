"""The truth table: each planted application, in processes of its own, gets the verdict that is true of it.

DIAGNOSE_ATTEMPTS=3 repeats the table three times.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lowtide.tools import cli
from lowtide.tools.diagnose import run
from tests import described

CHECKOUT = Path(__file__).parents[4]
PLANTED = "tests.lowtide.tools.diagnose.planted"


def diagnose(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["diagnose", "--format", "json", "--picture", "", "--chdir", str(CHECKOUT), *arguments])
    out, err = capsys.readouterr()
    assert out, err
    return code, json.loads(out)


def planted(capsys: pytest.CaptureFixture[str], name: str, *arguments: str, times: int = 40) -> dict[str, Any]:
    app = f"{PLANTED}.{name}:application"
    code, document = diagnose(capsys, "--app", app, "--path", "/", "--times", str(times), *arguments)
    assert code == (document["verdict"] in ("leak", "native", "fragmentation", "debug")), document
    assert document["schema"] == 1
    return document


@pytest.mark.parametrize("attempt", range(int(os.environ.get("DIAGNOSE_ATTEMPTS", "1"))))
@pytest.mark.parametrize(
    ("name", "verdict", "times"),
    [
        ("clean", "clean", 20),
        ("leak_list", "leak", 20),
        ("leak_dict", "leak", 20),
        ("leak_signal", "leak", 20),
        ("cache_filling", "cache", 40),
        ("cache_large", "cache", 20),
        ("native", "native", 20),
        ("native_mapped", "native", 12),
        ("native_zlib", "native", 20),
        ("retention", "retention", 20),
        ("fragmentation", "fragmentation", 10),
        ("fragmentation_malloc", "fragmentation", 10),
        ("django_debug", "debug", 20),
    ],
)
def test_truth_table(capsys: pytest.CaptureFixture[str], name: str, verdict: str, times: int, attempt: int) -> None:
    document = planted(capsys, name, times=times)
    assert document["verdict"] == verdict, document


def test_the_same_django_application_is_clean_without_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_DEBUG", "off")
    document = planted(capsys, "django_debug", times=20)
    assert (document["verdict"], document["confidence"]) == ("clean", "high"), document


def test_a_leak_is_shown_where_it_is_allocated_and_held(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = planted(capsys, "leak_list", times=20)["evidence"]
    assert evidence["growing_lines"][0]["line"].endswith("planted/leak_list.py:9")
    assert [link["type"] for link in evidence["chain"]] == ["module", "list", "bytes"]
    assert [link["label"] for link in evidence["chain"]][:2] == [f"{PLANTED}.leak_list", ".kept"]


def test_a_leak_through_a_closure_is_followed_to_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    evidence = planted(capsys, "leak_signal", times=20)["evidence"]
    labels = [link["label"] for link in evidence["chain"]]
    assert labels[:3] == [f"{PLANTED}.leak_signal", ".saved", ".receivers"]
    grown = {item["type"]: item["per_request"] for item in evidence["growing_types"]}
    assert round(grown["builtins.function"]) == 1


def test_native_growth_names_the_c_function(capsys: pytest.CaptureFixture[str]) -> None:
    document = planted(capsys, "native_zlib", times=20)
    first = document["evidence"]["c_functions"][0]
    assert first["function"].startswith("deflateInit")
    assert first["line"].endswith("planted/native_zlib.py:15")
    # zlib's own documentation: 256 KiB and some for the windows of level 6.
    assert 256 * 1024 <= first["bytes_per_request"] < 300 * 1024
    assert "deflateInit" in document["next"]


def test_native_growth_that_memray_cannot_see_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    document = planted(capsys, "native_mapped", times=12)
    assert document["verdict"] == "native"
    assert document["evidence"]["c_functions"] == []
    assert "memray saw no allocation" in document["next"]


def test_without_memray_the_verdict_is_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "memray" else find_spec(name))
    document = planted(capsys, "native_zlib", times=20)
    assert document["verdict"] == "native"
    assert "pip install memray" in document["next"]


def test_a_cache_that_is_not_full_is_told_by_its_bound(capsys: pytest.CaptureFixture[str]) -> None:
    document = planted(capsys, "cache_large", times=20)
    assert document["evidence"]["bounded_container"]["bound"] == 100_000
    assert document["confidence"] != "high"


def test_the_sample_application_retains_and_does_not_leak(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """10,000 records, 22 MB: the large request of the experiment."""
    feed = tmp_path / "feed"
    feed.write_bytes(described.large_body(tmp_path))
    arguments = ["--app", "config.wsgi:application", "--chdir", str(CHECKOUT / "app"), "--https", "--times", "10"]
    arguments += ["--path", "/catalog/import/?dry_run=1", "--body", str(feed), "--content-type", "application/json"]
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
    assert out.startswith("Verdict: leak (confidence: medium)")
    assert "allocated at tests/lowtide/tools/diagnose/planted/leak_signal.py:20.\n" in out
    assert "only 10 requests were measured" in out
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
        # Said before the measuring, not after it.
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


def test_django_finds_the_view_and_the_application(tmp_path: Path) -> None:
    command = [sys.executable, str(CHECKOUT / "app/manage.py"), "diagnose", "--format", "json", "--picture", ""]
    done = subprocess.run(
        [*command, "--view", "catalog:import", "--times", "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # A GET of a view that takes POST only: no database is needed, and the answer says that the view was reached.
    assert json.loads(done.stdout)["evidence"]["statuses"] == {"405 Method Not Allowed": 15}


def test_a_running_process_that_grows_and_one_that_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    grower = "import time; kept = []\nfor _ in range(600): kept.append(bytearray(b'x' * 200_000)); time.sleep(0.05)"
    for program, verdict, code in ((grower, "leak", 1), ("import time; time.sleep(30)", "clean", 0)):
        with subprocess.Popen([sys.executable, "-c", program]) as process:
            try:
                time.sleep(0.3)
                assert cli.main(["diagnose", "--pid", str(process.pid), "--seconds", "2", "--format", "json"]) == code
            finally:
                process.kill()
        assert json.loads(capsys.readouterr().out)["verdict"] == verdict
