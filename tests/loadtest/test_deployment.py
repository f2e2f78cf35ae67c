"""How the figures of a deployment are used: phases, gaps, the verdict, and the right names in the files."""

import csv
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadtest.commands import deployment as command
from loadtest.load import requests_log, scenarios
from loadtest.measure import CannotMeasure, deployment, remote
from loadtest.measure.outcome import Run
from loadtest.results import files, report
from loadtest.results.types import Summary

SMOKE = scenarios.SCENARIOS["smoke"]


@dataclass
class Script:
    """A source that gives these figures one by one, and then says that it has no more."""

    says: Iterator[tuple[float, float] | remote.Unreadable]
    kind: remote.Kind = "PSS"
    every_s: float = 0
    settle_s: float = 0
    done: threading.Event = field(default_factory=threading.Event)

    def read(self) -> tuple[float, float]:
        try:
            said = next(self.says)
        except StopIteration:
            self.done.set()
            raise remote.Unreadable("that was all") from None
        if isinstance(said, remote.Unreadable):
            raise said
        return said


def watched(*says: tuple[float, float] | remote.Unreadable, kind: remote.Kind = "PSS") -> deployment.Watch:
    source = Script(iter(says), kind)
    with deployment.watching(source) as watch:
        assert source.done.wait(10)
    return watch


def figures(watch: deployment.Watch) -> list[tuple[float, float]]:
    return [(sample.time, sample.memory_mb) for sample in watch.samples]


def test_a_figure_that_cannot_be_read_leaves_a_gap() -> None:
    assert figures(watched((1, 100), remote.Unreadable("away"), (3, 120))) == [(1, 100), (3, 120)]


def test_a_figure_that_is_read_twice_counts_once() -> None:
    assert figures(watched((1, 100), (1, 100), (2, 110))) == [(1, 100), (2, 110)]


def test_rest_is_the_median_of_the_newest_figures_of_its_phase() -> None:
    watch = watched((1, 900), (2, 100), (3, 120), (4, 110), (5, 700))
    assert watch.at_rest(1, 4) == 110


@pytest.mark.parametrize("says", [[], [(1.0, 100.0)], [(12.0, 0.0)]], ids=["none", "none of the phase", "nothing"])
def test_a_phase_without_memory_is_no_measurement(says: list[tuple[float, float]]) -> None:
    with pytest.raises(CannotMeasure, match="the last that was said: that was all"):
        watched(*says).at_rest(10, 20)


def measured(watch: deployment.Watch, end_mb: float = 110, failures: int = 0, requests: int = SMOKE.requests) -> Run:
    log = requests_log.Latencies(requests, failures, 0, 1.0, 2.0, 3.0, 40.0, 1.0, 2.0, 3.0, 40.0)
    answered = [100 + n / 10 for n in range(requests)]
    return deployment.run_of("https://shop.example.com", watch, log, answered, (100, 120), 100, end_mb)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(command, "STATE", tmp_path / "feeds")
    return tmp_path


def write(folder: Path, run: Run, kind: remote.Kind = "PSS") -> Summary:
    results = command.results(folder, run, kind, "smoke", 1, datetime(2026, 1, 31, 12, tzinfo=UTC))
    files.write(results)
    return results.summary


def test_a_working_set_is_not_called_pss(folder: Path) -> None:
    watch = watched((95, 100), (101, 250), (110, 200), (125, 110), kind="working set")
    summary = write(folder, measured(watch), "working set")
    with (folder / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["working_set_mb"] for row in rows] == ["100.0", "250.0", "200.0", "110.0"]
    assert [row["pss_mb"] for row in rows] == [""] * 4
    assert [row["requests"] for row in rows] == ["0", "11", "101", "184"]
    (variant,) = summary.variants
    assert (variant.peak_mb, variant.mean_mb) == (250, 225)
    report.write(folder)
    assert "PSS" not in (folder / "report.html").read_text()
    assert "MiB of working set" in (folder / "report.html").read_text()


def test_without_a_figure_during_the_load_there_is_no_mean(folder: Path) -> None:
    summary = write(folder, measured(watched((95, 100), (125, 110))))
    assert summary.variants[0].mean_mb is None
    report.write(folder)
    assert report.terminal(summary)


@pytest.mark.parametrize(
    ("end_mb", "failures", "holds", "failed"),
    [(149, 0, True, set()), (151, 0, False, {"end over idle"}), (110, 1, False, {"failed requests"})],
)
def test_the_verdict(end_mb: float, failures: int, holds: bool, failed: set[str], folder: Path) -> None:
    verdict = write(folder, measured(watched((95, 100), (110, 200), (125, end_mb)), end_mb, failures)).verdict
    assert verdict.holds is holds
    assert {check.name for check in verdict.checks if not check.holds} == failed


def test_a_list_that_was_not_sent_to_its_end_does_not_hold(folder: Path) -> None:
    run = measured(watched((95, 100), (125, 110)), requests=SMOKE.requests - 1)
    assert write(folder, run).verdict.holds is False
