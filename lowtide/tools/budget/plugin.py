"""The pytest plugin: `@pytest.mark.memory_budget(peak="80 MiB", retained="1 MiB")` on a test.

The test runs in a forked child, several times (lowtide.tools.budget.measure), and fails when it takes more.
`--memory-report` writes what all such tests took; `--memory-baseline FILE` compares it with an earlier one.
"""

import functools
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lowtide.tools.budget import measure
from lowtide.tools.sizes import docker_mb

MARK = "memory_budget"
_REPORT = "memory-report.json"
# A change is worse when the peak rose by this part and by more than these MiB, or when this much more is retained.
WORSE_PART, WORSE_PEAK_MB, WORSE_RETAINED_MB = 0.1, 1.0, 0.25
Row = dict[str, float]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("memory budgets (lowtide)")
    group.addoption(
        "--memory-report",
        nargs="?",
        const=_REPORT,
        metavar="FILE.json",
        help=f"write what each test with a memory budget took (default: {_REPORT})",
    )
    group.addoption(
        "--memory-baseline", metavar="FILE.json", help="compare with this earlier report, as a table for a pull request"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}(peak=None, retained=None): how much memory the test may take and keep, such as '80 MiB'"
    )
    file = config.getoption("--memory-report")
    if file and not file.endswith(".json"):
        raise pytest.UsageError(f"--memory-report {file}: write --memory-report=FILE.json, or nothing behind it")
    baseline = _baseline(config.getoption("--memory-baseline"))
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Report(Path(file) if file else None, baseline), "lowtide-memory-report")


def _baseline(file: str | None) -> dict[str, Row] | None:
    if not file:
        return None
    try:
        tests = json.loads(Path(file).read_text())["tests"]
        return {name: {"peak_mb": row["peak_mb"], "retained_mb": row["retained_mb"]} for name, row in tests.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise pytest.UsageError(f"--memory-baseline {file}: no report of --memory-report ({problem})") from None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if mark := item.get_closest_marker(MARK):
            _limits(item, mark)


def _limits(item: pytest.Item, mark: pytest.Mark) -> dict[str, float]:
    """The budget in MiB by name: peak, retained."""
    if mark.args or set(mark.kwargs) - {"peak", "retained"}:
        raise pytest.UsageError(
            f'{item.nodeid}: write @pytest.mark.{MARK}(peak="80 MiB", retained="1 MiB"), or one of both'
        )
    if not isinstance(item, pytest.Function) or inspect.iscoroutinefunction(item.obj):
        raise pytest.UsageError(f"{item.nodeid}: a memory budget is for a function or a method that is not async")
    try:
        return {name: docker_mb(str(size)) for name, size in mark.kwargs.items()}
    except ValueError as error:
        raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.{MARK}: {error}") from None


@functools.cache
def _unknown() -> str:
    return measure.unknown()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Replace the test's function by one that measures it. Fixtures are as for any other test."""
    mark = item.get_closest_marker(MARK)
    if mark is None or not isinstance(item, pytest.Function):
        return (yield)
    if _unknown():
        item.user_properties.append((f"{MARK}_unknown", _unknown()))
        return (yield)
    plain = item.obj
    item.obj = _with_budget(plain, _limits(item, mark), item)
    try:
        return (yield)
    finally:
        item.obj = plain


def _with_budget(test: Callable[..., Any], limits: dict[str, float], item: pytest.Item) -> Callable[..., None]:
    @functools.wraps(test)
    def measured(*args: Any, **kwargs: Any) -> None:
        def once() -> None:
            test(*args, **kwargs)

        figures = measure.measure(once, pytest.skip.Exception)
        if figures.ended == "skipped":
            pytest.skip(figures.why)
        if figures.ended:
            pytest.fail(figures.why, pytrace=False)
        took = {"peak": figures.peak_mb, "retained": figures.retained_mb}
        item.user_properties.append(
            (MARK, {"peak_mb": round(took["peak"], 2), "retained_mb": round(took["retained"], 2)})
        )
        over = [name for name, limit in limits.items() if took[name] > limit]
        if over:
            pytest.fail(_message(figures, limits, over, once), pytrace=False)

    return measured


def _message(figures: measure.Figures, limits: dict[str, float], over: list[str], once: Callable[[], None]) -> str:
    at_peak, kept = measure.lines(once, pytest.skip.Exception)
    text = [f"Median of {measure.RUNS} runs, in a child that had run it {measure.WARM_UP} times before:"]
    if "peak" in over:
        text.append(f"at its peak a run takes {figures.peak_mb:.1f} MiB; the budget is {limits['peak']:g} MiB.")
    if "retained" in over:
        text.append(f"each run keeps {figures.retained_mb:.2f} MiB; the budget is {limits['retained']:g} MiB.")
    text.append(figures.line())
    if "peak" in over:
        text += ["", "Lines that hold most at the peak:", *at_peak]
    if "retained" in over and kept:
        text += ["", "Lines that hold what a run keeps:", *kept]
    return "\n".join(text)


class Report:
    """Collects the figures of all tests, also from the processes of pytest-xdist, and shows them at the end."""

    def __init__(self, file: Path | None, baseline: dict[str, Row] | None) -> None:
        self._file, self._baseline = file, baseline
        self._rows: dict[str, Row] = {}
        self._unknown = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            properties: dict[str, Any] = dict(report.user_properties)
            self._unknown = self._unknown or properties.get(f"{MARK}_unknown", "")
            if MARK in properties:
                self._rows[report.nodeid] = properties[MARK]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._unknown:
            terminalreporter.write_line(f"Memory budgets were not checked: {self._unknown}")
        if self._file:
            document = {"schema": 1, "tests": dict(sorted(self._rows.items()))}
            self._file.write_text(json.dumps(document, indent=2) + "\n")
        if self._file or self._baseline is not None:
            terminalreporter.section("memory of tests, MiB")
            for line in table(self._rows, self._baseline):
                terminalreporter.write_line(line)


def table(rows: dict[str, Row], baseline: dict[str, Row] | None) -> list[str]:
    """The figures as a table in Markdown; with a baseline, those that changed, and a sentence where none did."""
    if baseline is None:
        head = ["| test | peak | retained |", "|---|---|---|"]
        return head + [
            f"| {name} | {row['peak_mb']:.1f} | {row['retained_mb']:.2f} |" for name, row in sorted(rows.items())
        ]
    head = ["| test | peak before | peak now | retained before | retained now | |", "|---|---|---|---|---|---|"]
    changed = []
    for name, now in sorted(rows.items()):
        before = baseline.get(name)
        if before is None:
            changed.append(f"| {name} | | {now['peak_mb']:.1f} | | {now['retained_mb']:.2f} | new |")
            continue
        change = _change(before, now)
        if change:
            peaks = f"{before['peak_mb']:.1f} | {now['peak_mb']:.1f}"
            retained = f"{before['retained_mb']:.2f} | {now['retained_mb']:.2f}"
            changed.append(f"| {name} | {peaks} | {retained} | {change} |")
    return head + changed if changed else [f"{len(rows)} tests: none takes or keeps more or less than before."]


def _change(before: Row, now: Row) -> str:
    """`worse`, `better`, or an empty text when the difference is within what repeated runs differ by."""

    def rose(old: Row, new: Row) -> bool:
        by = new["peak_mb"] - old["peak_mb"]
        peak = by > max(WORSE_PEAK_MB, WORSE_PART * old["peak_mb"])
        return peak or new["retained_mb"] - old["retained_mb"] > WORSE_RETAINED_MB

    return "**worse**" if rose(before, now) else "better" if rose(now, before) else ""
