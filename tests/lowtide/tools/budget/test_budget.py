"""The pytest plugin, run as its users run it: on tests of their own, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lowtide.tools.budget import measure, plugin

# The folder, what pytest printed, and the figures of the report by test.
Planted = tuple[Path, str, dict[str, dict[str, float]]]
PLANTED = """
import unittest

import pytest

kept = []
FIRST = []


def take(mib):
    return [str(number) * 16 for number in range(mib * 8000)]


@pytest.mark.memory_budget(peak="60 MiB", retained="1 MiB")
def test_within():
    take(20)


@pytest.mark.memory_budget(peak="10 MiB")
def test_takes_too_much():
    block = bytearray(30 << 20)
    many = take(2)


@pytest.mark.memory_budget(peak="1g", retained="1 MiB")
def test_keeps_too_much():
    kept.append(take(3))


@pytest.mark.memory_budget(retained="1 MiB")
def test_keeps_once():
    if not FIRST:
        FIRST.append(bytearray(20 << 20))


@pytest.mark.memory_budget(peak="1g")
def test_fails():
    assert 1 == 2, "one is not two"


@pytest.mark.memory_budget(peak="1g")
def test_is_killed():
    import os
    os.kill(os.getpid(), 9)


@pytest.mark.memory_budget(peak="1g")
def test_skips():
    pytest.skip("not today")


class TestOfUnittest(unittest.TestCase):
    def setUp(self):
        self.size = 30 << 20

    @pytest.mark.memory_budget(peak="10 MiB")
    def test_method_takes_too_much(self):
        bytearray(self.size)


def test_nothing_came_back_from_the_children():
    assert not kept and not FIRST
"""


def run(folder: Path, text: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_planted.py").write_text(text)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:django",
        "-p",
        "no:schemathesis",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environ, timeout=120)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    output = run(folder, PLANTED, "-rA", "-n2", "--memory-report").stdout
    return folder, output, json.loads((folder / "memory-report.json").read_text())["tests"]


def test_over_its_budget_a_test_fails_and_the_others_end_as_they_would(planted: Planted) -> None:
    _, output, _ = planted
    assert "5 failed, 3 passed, 1 skipped" in output
    for name in ("takes_too_much", "keeps_too_much", "fails", "is_killed"):
        assert f"FAILED test_planted.py::test_{name}" in output
    assert "FAILED test_planted.py::TestOfUnittest::test_method_takes_too_much" in output
    assert "one is not two" in output
    assert "ended by signal 9" in output
    assert "not today" in output


def test_a_failure_names_figures_budget_and_lines(planted: Planted) -> None:
    folder, output, _ = planted
    assert "at its peak a run takes 3" in output
    assert "the budget is 10 MiB." in output
    assert '"event": "large-request", "peak_mb": 3' in output
    assert f"30.00 MiB  {folder}/test_planted.py:{line_of('block = bytearray')}" in output
    kept = output[output.index("each run keeps 3.") :]
    assert (
        f"test_planted.py:{line_of('return [str(number)')}"
        in kept[: kept.index("Lines that hold what a run keeps:") + 200]
    )


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(PLANTED.splitlines(), 1) if text in line)


def test_figures_are_those_of_what_was_allocated(planted: Planted) -> None:
    _, _, tests = planted
    figures = {name.rpartition("::test_")[2]: row for name, row in tests.items()}
    assert figures["takes_too_much"]["peak_mb"] == pytest.approx(30 + figures["within"]["peak_mb"] / 10, rel=0.1)
    assert figures["method_takes_too_much"]["peak_mb"] == pytest.approx(30, rel=0.1)
    assert figures["keeps_too_much"]["retained_mb"] == pytest.approx(figures["within"]["peak_mb"] * 3 / 20, rel=0.15)
    assert figures["within"]["retained_mb"] < 0.3
    assert figures["keeps_once"]["retained_mb"] < 0.3


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ('peak="much"', "'much' is no amount of memory"),
        ('"80 MiB"', 'write @pytest.mark.memory_budget(peak="80 MiB"'),
        ('top="80 MiB"', 'write @pytest.mark.memory_budget(peak="80 MiB"'),
    ],
)
def test_a_mark_that_cannot_be_read_is_one_line(tmp_path: Path, mark: str, message: str) -> None:
    result = run(tmp_path, f"import pytest\n@pytest.mark.memory_budget({mark})\ndef test_it(): pass\n")
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_planted.py::test_it: " in result.stderr + result.stdout
    assert message in result.stderr + result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--memory-report", "test_planted.py"], "write --memory-report=FILE.json"),
        (["--memory-baseline", "absent.json"], "--memory-baseline absent.json: no report of --memory-report"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = run(tmp_path, "def test_it(): pass\n", *arguments)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr


def test_against_a_baseline_only_what_changed_is_shown() -> None:
    def row(peak: float, retained: float = 0.0) -> plugin.Row:
        return {"peak_mb": peak, "retained_mb": retained}

    before = {"same": row(50), "higher": row(50), "lower": row(50), "keeps": row(1), "small": row(0.1)}
    now = {
        "same": row(54),
        "higher": row(56),
        "lower": row(30),
        "keeps": row(1, 0.5),
        "small": row(0.9),
        "added": row(7),
    }
    shown = plugin.table(now, before)
    assert [line.split("|")[1].strip() for line in shown[2:]] == ["added", "higher", "keeps", "lower"]
    assert [line.split("|")[-2].strip() for line in shown[2:]] == ["new", "**worse**", "**worse**", "better"]
    assert plugin.table(before, before) == ["5 tests: none takes or keeps more or less than before."]


def test_where_peaks_are_not_known_the_test_runs_and_the_summary_says_so(tmp_path: Path) -> None:
    blind = "import lowtide.tools.budget.measure as measure\nmeasure.unknown = lambda: 'no kernel'\n"
    result = run(tmp_path, blind + PLANTED, "-k", "takes_too_much or fails")
    assert "2 failed, 1 passed" in result.stdout or "1 failed, 2 passed" in result.stdout
    assert "Memory budgets were not checked: no kernel" in result.stdout


def test_holes_that_earlier_tests_left_hide_nothing() -> None:
    small = [bytes(100) for _ in range(400_000)]
    # Every tenth lives on, so the arenas stay and have room for nearly all of what the function takes.
    holes = small[::10]
    del small
    figures = measure.measure(lambda: [bytes(100) for _ in range(100_000)], pytest.skip.Exception)
    assert figures.peak_mb > 0.8 * 100_000 * 144 / 2**20
    assert len(holes) == 40_000


@pytest.mark.night
@pytest.mark.timeout(3600)
def test_repeated_runs_agree() -> None:
    """No false alarm in 200 runs, whatever else the machine does: a budget a tenth above what it takes holds."""

    def function() -> list[str]:
        return [str(number) * 16 for number in range(100_000)]

    runs = [measure.measure(function, pytest.skip.Exception) for _ in range(200)]
    peaks = sorted(figures.peak_mb for figures in runs)
    assert peaks[-1] < 1.1 * peaks[0]
    assert max(figures.retained_mb for figures in runs) < 0.3
