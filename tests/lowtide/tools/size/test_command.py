"""The command: its three sources, its outputs, its exit codes, and one line for input that cannot be used."""

import json
import os
import re
import select
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lowtide import application, sizing
from lowtide.tools.check.options import load_options
from lowtide.tools.check.reader import Reader
from lowtide.tools.cli import main

SUMMARY: dict[str, Any] = {
    "schema": 1,
    "load": {"workers": 4, "large_body_mb": 21.9},
    "needs": {"import": {"peak_mb": 90.0}, "report": {"peak_mb": 150.0}},
    "variants": [
        {"name": "without", "idle_mb": 110.0, "worker_rss_mb": 55.0},
        {"name": "lowtide", "idle_mb": 100.0, "worker_rss_mb": 50.0},
    ],
}
NUMBERS = ["--idle-mb", "100", "--worker-rss-mb", "50", "--large-mb", "150", "--workers", "4"]
KINDS = ("ini", "env", "compose", "ecs", "kubernetes", "app")


@pytest.fixture
def summary(tmp_path: Path) -> str:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(SUMMARY))
    return str(path)


def answer(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["size", *arguments, "--format", "json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def values(found: dict[str, Any]) -> dict[str, int]:
    return {number["name"]: number["value"] for number in found["numbers"]}


def test_from_a_summary(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    said = answer(capsys, summary)
    assert said["fits"] is True
    # The idle memory of the variant lowtide, and the largest of the needs.
    assert (said["measured"]["idle_mb"], said["measured"]["large_mb"]) == (100, 150)
    assert said["bound"]["total_mb"] == 397
    assert values(said) == {
        "workers": 4,
        "large-workers": 1,
        "large-need": 165,
        "reload-on-rss": 75,
        "worker-ceiling": 190,
        "max-requests": 1000,
        "max-requests-delta": 100,
        "max-worker-lifetime": 3600,
        "max-worker-lifetime-delta": 360,
        "hard limit": 400,
        "soft limit": 240,
    }
    assert all(number["why"] for number in said["numbers"])


def test_from_another_variant(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    assert answer(capsys, summary, "--variant", "without")["measured"]["idle_mb"] == 110


def test_given_numbers_win_over_measured_ones(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    measured = answer(capsys, summary, "--large-mb", "90", "--idle-mb", "80")["measured"]
    assert (measured["large_mb"], measured["idle_mb"], measured["worker_rss_mb"]) == (90, 80, 50)


def test_a_summary_without_worker_rss_counts_the_worse_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(SUMMARY | {"variants": [{"name": "lowtide", "idle_mb": 100.0}]}))
    said = answer(capsys, str(path))
    assert values(said)["reload-on-rss"] == 150
    assert said["bound"]["growth_mb"] == 130
    assert main(["size", str(path)]) == 0
    assert "--worker-rss-mb" in capsys.readouterr().out


def test_a_summary_without_large_requests_alone_estimates_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The figures that a summary.json always has."""
    path = tmp_path / "summary.json"
    without = {"name": "without", "idle_mb": 76.0, "peak_mb": 766.0}
    path.write_text(json.dumps(SUMMARY | {"needs": {}, "variants": [without, {"name": "lowtide", "idle_mb": 80.0}]}))
    measured = answer(capsys, str(path))["measured"]
    assert (measured["idle_mb"], measured["large_mb"]) == (80, 172.5)
    assert "grew by 172 MiB a worker" in measured["notes"][0]
    assert answer(capsys, str(path), "--large-mb", "90")["measured"]["large_mb"] == 90


def test_numbers_alone_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert values(answer(capsys, *NUMBERS))["hard limit"] == 400


def test_idle_memory_of_another_number_of_workers(capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(capsys, *NUMBERS, "--measured-workers", "2", "--worker-private-mb", "15")
    assert said["bound"]["idle_mb"] == 130


@pytest.mark.parametrize("memory", ["512m", "512Mi", "0.5g", "536870912", "512MB"])
def test_units_of_memory(capsys: pytest.CaptureFixture[str], memory: str) -> None:
    assert values(answer(capsys, *NUMBERS, "--memory", memory))["hard limit"] == 512


def test_text_gives_each_number_its_reason(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    assert main(["size", summary, "--memory", "1g"]) == 0
    out = capsys.readouterr().out
    bound = "idle 100 + 4 workers x 50 of growth + 1 large request x 165 + headroom 32 = 497 MiB"
    assert bound in " ".join(out.split())
    lines = out.splitlines()
    for name in values(answer(capsys, summary, "--memory", "1g")):
        place = next(place for place, line in enumerate(lines) if line.startswith(f"{name} = "))
        assert re.match(r"    \S", lines[place + 1]), name
    assert max(map(len, lines)) <= 120


def test_snippets_say_the_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = answer(capsys, *NUMBERS, "--memory", "512m")
    snippets, numbers = said["snippets"], values(said)
    assert set(snippets) == set(KINDS)
    hard, soft, rss = numbers["hard limit"], numbers["soft limit"], str(numbers["reload-on-rss"])

    app = yaml.safe_load(snippets["compose"])["services"]["app"]
    assert (app["mem_limit"], app["memswap_limit"], app["mem_reservation"]) == (f"{hard}m", f"{hard}m", f"{soft}m")
    assert app["environment"]["RELOAD_ON_RSS"] == rss

    container = json.loads(snippets["ecs"])["containerDefinitions"][0]
    assert (container["memory"], container["memoryReservation"]) == (hard, soft)
    assert {"name": "RELOAD_ON_RSS", "value": rss} in container["environment"]

    pod = yaml.safe_load(snippets["kubernetes"])["spec"]["containers"][0]
    assert pod["resources"] == {"requests": {"memory": f"{soft}Mi"}, "limits": {"memory": f"{hard}Mi"}}
    assert {"name": "RELOAD_ON_RSS", "value": rss} in pod["env"]

    assert f"RELOAD_ON_RSS={rss}\nWORKER_CEILING=auto\nAPP_MEMORY={hard}m\n" in snippets["env"]


def test_the_ini_snippet_reads_as_the_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = answer(capsys, *NUMBERS)
    path = tmp_path / "uwsgi.ini"
    path.write_text(said["snippets"]["ini"])
    Reader(load_options(), {}, tmp_path).read(str(path))
    options = dict(line.split(" = ") for line in path.read_text().splitlines() if " = " in line and line[0] != "#")
    numbers = values(said)
    for name in ("max-requests", "max-requests-delta", "max-worker-lifetime", "reload-on-rss"):
        assert options[name] == str(numbers[name])
    assert "evil-reload-on-rss" not in options
    assert options["processes"] == "4"
    assert "map-socket = 0:1,2,3\nmap-socket = 1:4\n" in said["snippets"]["ini"]
    assert "map-socket" not in answer(capsys, *NUMBERS, "--large-workers", "0")["snippets"]["ini"]


def test_the_snippets_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*arguments: str) -> list[str]:
        assert main(["size", *NUMBERS, *arguments]) == 0
        return [line[4:] for line in capsys.readouterr().out.splitlines() if line.startswith("--- ")]

    assert shown() == ["ini"]
    assert shown("--for", "ecs", "--for", "env") == ["ecs", "env"]
    assert shown("--for", "all") == list(KINDS)


def test_memory_that_cannot_carry_the_load(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    assert main(["size", summary, "--memory", "300m", "--workers", "4"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "300 MiB cannot carry this: idle 100 + 4 workers x 25 of growth + 1 large request x 165" in out
    assert "400 MiB would carry 4 workers and 1 large request at once." in out
    # 300 - 100 - 4 x 25 - 32 is left for one large request.
    assert "let no request need more than 68 MiB" in out
    said = answer(capsys, summary, "--memory", "300m", "--workers", "4", code=1)
    assert (said["fits"], said["memory_mb"], said["bound"]["total_mb"]) == (False, 300, 397)
    assert "400 MiB would carry" in said["instead"][0]


def test_fewer_workers_that_would_fit_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*NUMBERS, "--measured-workers", "4", "--worker-private-mb", "15", "--memory", "400m"]
    said = answer(capsys, *arguments, "--large-workers", "3", code=1)
    assert "In 400 MiB 4 workers of which 1 for large requests would fit." in said["instead"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--memory", "1x"], "'1x' is no amount of memory"),
        (["--memory", "512"], "without a letter it is bytes"),
        (["--memory=-1g"], "is no amount of memory"),
        (["--workers", "0"], "--workers 0"),
        (["--workers", "four"], "--workers four"),
        (["--workers", "٤"], "--workers ٤"),
        (["--large-workers", "4"], "leave none for small requests"),
        (["--idle-mb", "nan"], "--idle-mb nan is no number"),
        (["--large-mb", "-3"], "--large-mb -3"),
        (["--large-mb", "90MB"], "--large-mb 90MB is no number"),
        (["--worker-rss-mb", "900"], "does not fit an idle server"),
        (["--variant", "x"], "--variant needs a summary.json"),
        (["--seconds", "0", "--pid", "1"], "--seconds 0"),
        (["--pid", "x"], "--pid x is no process id"),
        (["--pid", "4194305"], "process 4194305 does not exist"),
        (["--pid", "1", "--stats", "s"], "name one source only"),
        (["--stats", "no/such.sock"], "no/such.sock does not answer"),
        (["no/such.json"], "no/such.json: No such file"),
        (["."], ".: Is a directory"),
    ],
)
def test_input_that_cannot_be_used(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert main(["size", *NUMBERS, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe\x00", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[]", "is no summary.json"),
        (b"{}", "is no summary.json"),
        (b'{"variants": [], "load": {}}', "is no summary.json"),
        (json.dumps(SUMMARY | {"load": {}}).encode(), "workers is null"),
        (json.dumps(SUMMARY | {"needs": None, "variants": SUMMARY["variants"][1:]}).encode(), "--large-mb"),
        (json.dumps(SUMMARY | {"needs": None}).encode(), "peak_mb is null"),
        (json.dumps(SUMMARY | {"needs": {"a": {"peak_mb": "9"}}}).encode(), 'peak_mb is "9"'),
        (json.dumps(SUMMARY | {"variants": [{"name": "lowtide", "idle_mb": True}]}).encode(), "idle_mb is true"),
        (json.dumps(SUMMARY | {"variants": [{"name": "lowtide", "idle_mb": 0}]}).encode(), "not a server"),
        (json.dumps(SUMMARY).replace("100.0", "NaN").encode(), "idle_mb is NaN"),
    ],
)
def test_summary_that_is_none(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    assert main(["size", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert says in err


def test_unknown_variant_is_told_the_known_ones(capsys: pytest.CaptureFixture[str], summary: str) -> None:
    assert main(["size", summary, "--variant", "other"]) == 2
    assert "it has without, lowtide" in capsys.readouterr().err


def test_missing_numbers_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--idle-mb", "100", "--workers", "4"]) == 2
    assert "add --large-mb" in capsys.readouterr().err


# A pre-forking server: two workers with 20 MiB of their own, one of which once needs 64 MiB more.
PREFORK = """
import os, sys, time
shared = b"s" * (30 << 20)
for number in range(2):
    if not os.fork():
        own = b"o" * (20 << 20)
        if number:
            more = b"m" * (64 << 20)
            del more
        # In one piece, because both workers write to the same pipe.
        os.write(1, b"ready\\n")
        time.sleep(60)
        os._exit(0)
sys.stdin.read()
"""


@pytest.fixture
def prefork() -> Iterator[int]:
    # Without a buffer, in which the second line would wait where select does not see it.
    process = subprocess.Popen(
        [sys.executable, "-c", PREFORK],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout
        for _ in range(2):
            assert select.select([process.stdout], [], [], 30)[0]
            assert process.stdout.readline() == b"ready\n"
        yield process.pid
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def test_a_live_server_by_its_master(capsys: pytest.CaptureFixture[str], prefork: int) -> None:
    measured = answer(capsys, "--pid", str(prefork), "--seconds", "0.5")["measured"]
    assert measured["workers"] == 2
    # 30 shared + 2 x 20 and three interpreters; the sum of RSS would be 30 for each worker and more.
    assert 70 < measured["idle_mb"] < 110
    assert 50 < measured["worker_rss_mb"] < 75
    assert 20 <= measured["worker_private_mb"] < 40
    # The peak was over before the command began to look.
    assert 55 < measured["large_mb"] < 75


def test_a_process_without_workers(capsys: pytest.CaptureFixture[str]) -> None:
    lonely = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        assert main(["size", "--pid", str(lonely.pid), "--seconds", "0.2"]) == 2
        assert "has no worker processes" in capsys.readouterr().err
    finally:
        lonely.kill()
        lonely.wait()


def test_needs_no_django() -> None:
    code = "import sys; from lowtide.tools.cli import main; main(sys.argv[1:]); sys.exit('django' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, "size", *NUMBERS],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_figures_for_the_application_are_what_its_file_is_read_as(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    said = answer(capsys, *NUMBERS, "--memory", "512m")
    needed = 'name = "ab"\nwsgi = "a:b"\nmanage = "manage.py"\npage = "/"\nlive = "/l"\nready = "/r"\n'
    (tmp_path / "lowtide.toml").write_text(needed + said["snippets"]["app"])
    load = sizing.measured(application.read(tmp_path))
    assert load
    assert (load.idle_mb, load.large_mb, load.workers) == tuple(
        said["measured"][name] for name in ("idle_mb", "large_mb", "workers")
    )


def test_what_was_measured_is_written_and_comments_stay(
    summary: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lowtide.toml"
    measured = "[measured]\nworkers = 9 # of them\n# at rest\nidle_mb = 1\nworker_private_mb = 3\n"
    file.write_text(f"# mine\npage = '/'\n\n{measured}\n[z]\na = 1\n")
    assert main(["size", summary, "--apply", str(file)]) == 0
    written = file.read_text()
    assert written.startswith("# mine\npage = '/'\n\n[measured]\nworkers = 4 # of them\n# at rest\nidle_mb = 100\n")
    assert written.endswith("[z]\na = 1\n")
    assert tomllib.loads(written)["measured"] == {
        "workers": 4, "idle_mb": 100, "worker_rss_mb": 50, "large_mb": 150
    }  # fmt: skip
    # A file without the section gets one.
    file.write_text("page = '/'\n")
    assert main(["size", summary, "--apply", str(file)]) == 0
    assert "[measured]\nworkers = 4\n" in file.read_text()
    file.write_text("page = \n")
    capsys.readouterr()
    assert main(["size", summary, "--apply", str(file)]) == 2
    assert f"{file} is not TOML" in capsys.readouterr().err
    assert file.read_text() == "page = \n"
