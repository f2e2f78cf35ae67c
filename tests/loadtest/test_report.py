"""The report, the sentences in it, and the files that it refuses."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from loadtest.measure.variants import VARIANTS
from loadtest.results import files, plot, report, words
from loadtest.results.types import Check, ResultError, Summary, Variant

from .conftest import Write

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Collects the elements, the text and the table rows of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", html, flags=re.DOTALL))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    def row(self, first: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == first)


def html(directory: Path) -> str:
    return report.page(files.read(directory))


def checked(summary: dict[str, Any]) -> Summary:
    return msgspec.convert(summary, Summary)


def of(summary: dict[str, Any], index: int = 0, **changes: Any) -> Variant:
    return msgspec.convert(summary["variants"][index] | changes, Variant)


def fails(summary: dict[str, Any], index: int, value: float | None) -> None:
    """The same summary with a check that fails."""
    summary["verdict"]["holds"] = False
    summary["verdict"]["checks"][index] |= {"value": value, "holds": False}


def several(summary: dict[str, Any]) -> None:
    """A summary of three rounds, with the single runs of `without`."""
    summary["rounds"] = 3
    single = summary["variants"][0]
    single["rounds"] = [single | {"mean_mb": mean_mb} for mean_mb in (650.0, 694.0, 701.0)]


class TestWords:
    def test_the_good_outcome(self, expected: dict[str, Any]) -> None:
        assert words.headline(checked(expected)) == "Memory came back down"
        assert words.verdict(checked(expected)) == [
            "Lowtide ended at 1.01 times its idle memory (76 MiB idle, 309 MiB at its peak, 77 MiB at the end);"
            " without ended at 10.1 times its idle memory (76 MiB idle, 766 MiB at its peak, 765 MiB at the end).",
            "All 3 checks hold.",
        ]
        assert words.failed_checks(checked(expected)) == []

    def test_memory_that_does_not_come_back(self, expected: dict[str, Any]) -> None:
        expected["variants"][2]["end_mb"] = 301.0
        fails(expected, 1, 3.96)
        assert words.headline(checked(expected)) == "Memory did not come back down"
        assert words.verdict(checked(expected))[-1] == "1 of 3 checks does not hold."
        assert words.failed_checks(checked(expected)) == ["lowtide: end / idle: measured 3.96, limit at most 1.25."]
        steps = " ".join(words.next_steps(checked(expected)))
        assert "reload-on-rss lies above" in steps
        assert "name the pages under [[preload]]" in steps

    def test_nothing_reproduced(self, expected: dict[str, Any]) -> None:
        expected["variants"][0] |= {"peak_mb": 190.0, "end_mb": 180.0}
        fails(expected, 0, 2.37)
        assert words.headline(checked(expected)) == "The inflation was not reproduced"
        assert words.failed_checks(checked(expected)) == ["without: end / idle: measured 2.37, limit at least 5."]
        assert "SCENARIO=article" in words.next_steps(checked(expected))[0]

    def test_failed_requests_do_not_hide_that_memory_came_back(self, expected: dict[str, Any]) -> None:
        expected["variants"][2]["failures"] = 3
        fails(expected, 2, 3)
        assert words.headline(checked(expected)) == "Memory came back down, but a check failed"
        assert any("Requests failed in lowtide" in step for step in words.next_steps(checked(expected)))

    def test_one_variant_without_checks(self, expected: dict[str, Any]) -> None:
        expected["variants"] = expected["variants"][:1]
        expected["verdict"]["checks"] = []
        assert words.headline(checked(expected)) == "Measured, but nothing was judged"
        assert words.verdict(checked(expected))[-1] == "The verdict has no checks for these variants."
        assert any("left out article, lowtide" in step for step in words.next_steps(checked(expected)))

    def test_a_check_without_the_usual_variants(self, expected: dict[str, Any]) -> None:
        expected["variants"] = expected["variants"][1:2]
        assert words.headline(checked(expected)) == "Every check holds"
        expected["verdict"]["checks"] = expected["verdict"]["checks"][1:2]
        assert words.verdict(checked(expected)) == ["The only check holds."]
        fails(expected, 0, None)
        assert words.headline(checked(expected)) == "A check failed"
        assert words.verdict(checked(expected)) == ["The only check does not hold."]
        assert words.failed_checks(checked(expected)) == [
            "lowtide: end / idle: not measured, so it cannot hold (limit 1.25)."
        ]

    def test_memory_that_never_rose_did_not_come_back(self, expected: dict[str, Any]) -> None:
        expected["variants"][2]["peak_mb"] = 90.0
        assert words.headline(checked(expected)) == "Memory stayed low"

    @pytest.mark.parametrize(
        ("peak", "end", "said"),
        [
            (766.0, 765.0, "Memory rose from 76 MiB to 766 MiB and stayed high: 765 MiB at the end, 10.1 times idle."),
            (
                766.0,
                200.0,
                "Memory rose from 76 MiB to 766 MiB and did not come all the way back:"
                " 200 MiB at the end, 2.63 times idle.",
            ),
            (
                309.0,
                77.0,
                "Memory rose from 76 MiB to 309 MiB and came back down: 77 MiB at the end, 1.01 times idle.",
            ),
            (80.0, 78.0, "Memory hardly rose: idle 76 MiB, peak 80 MiB, 78 MiB at the end, 1.03 times idle."),
            (309.0, None, "Memory: idle 76 MiB, peak 309 MiB, end not measured."),
        ],
    )
    def test_what_memory_did(self, expected: dict[str, Any], peak: float, end: float | None, said: str) -> None:
        assert words.memory(of(expected, peak_mb=peak, end_mb=end)) == said

    def test_a_panel_says_that_its_title_is_a_median_of_rounds(self, expected: dict[str, Any]) -> None:
        variant = of(expected, idle_mb=100, end_mb=150)
        assert words.end_in_idles(variant) == "ends at 150 MiB, 1.50 times idle"
        assert words.end_in_idles(variant, rounds=5) == "ends at 150 MiB, 1.50 times idle (median)"

    def test_idle_memory_of_zero_makes_no_ratio(self, expected: dict[str, Any]) -> None:
        assert words.end_in_idles(of(expected, idle_mb=0)) == "end or idle memory not measured"

    @pytest.mark.parametrize(
        ("counts", "said"),
        [
            ({}, "No worker was replaced."),
            ({"rss": 1}, "1 worker was replaced: 1 on RSS."),
            (
                {"requests": 1200, "lifetime": 2, "died": 1, "hung": 1, "signal": 1},
                "1,204 workers were replaced: 1,200 on their number of requests, 2 on lifetime,"
                " 1 on a signal, 1 by a sudden end.",
            ),
        ],
    )
    def test_how_workers_were_replaced(self, expected: dict[str, Any], counts: dict[str, int], said: str) -> None:
        recycles = {"requests": 0, "rss": 0, "lifetime": 0, "died": 0} | counts
        assert words.recycled(of(expected, recycles=recycles)) == said

    @pytest.mark.parametrize(
        ("failures", "kills", "said"),
        [
            (0, 0, "No request failed and nothing was killed for memory."),
            (1, 0, "1 request of 6,000 failed; nothing was killed for memory."),
            (12, 7, "12 requests of 6,000 failed; 7 OOM kills."),
            (0, 1, "No request of 6,000 failed; 1 OOM kill."),
            (0, None, "No request of 6,000 failed; OOM kills were not measured."),
        ],
    )
    def test_losses(self, expected: dict[str, Any], failures: int, kills: int | None, said: str) -> None:
        assert words.losses(of(expected, failures=failures, oom_kills=kills)) == said

    def test_latency(self, expected: dict[str, Any]) -> None:
        said = "Small requests took 1.6 ms at the median, 4.1 ms at p99, 32.8 ms at worst"
        due = "; from when they were due, 1.7, 6.1 and 36.9 ms. 12 requests were pushed back."
        assert words.latency(of(expected)) == said + due
        assert words.latency(of(expected, pushed_back=None)) == f"{said}."
        assert words.latency(of(expected, small_p99_ms=None)) == "The latency of small requests was not measured."

    @pytest.mark.parametrize(
        ("value", "limit", "holds", "said"),
        [
            (10.07, 5.0, True, "at least 5"),
            (2.0, 5.0, False, "at least 5"),
            (1.0, 1.25, True, "at most 1.25"),
            (3.0, 1.25, False, "at most 1.25"),
            (0.0, 0.0, True, "0"),
            (None, 1.25, False, "1.25"),
            (1.0, None, True, "-"),
        ],
    )
    def test_the_direction_of_a_limit(self, value: float | None, limit: float | None, holds: bool, said: str) -> None:
        assert words.limit(Check("a", value, limit, holds)) == said

    @pytest.mark.parametrize(("at_least", "said"), [(True, "at least 5"), (False, "at most 5")])
    def test_the_direction_that_was_written(self, at_least: bool, said: str) -> None:
        assert words.limit(Check("a", 5.0, 5.0, True, at_least)) == said


class TestPage:
    @pytest.fixture(autouse=True)
    def no_picture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Drawing takes a second; TestPagesPictures looks at the pictures."""
        monkeypatch.setattr(plot, "svg", lambda results, narrow=False: "<svg></svg>")

    def test_the_verdict_and_what_happened_come_in_words(self, written: Write, expected: dict[str, Any]) -> None:
        text = Page(html(written(expected))).text
        assert text.index("Memory came back down") < text.index("What happened") < text.index("What to do next")
        for variant in checked(expected).variants:
            assert words.happened(variant) in text

    def test_the_table_holds_every_figure(self, written: Write, expected: dict[str, Any]) -> None:
        page = Page(html(written(expected)))
        rows = [row for row in page.rows if row and row[0] == "without" and len(row) > 10]
        assert rows == [
            ["without", "76", "766", "694", "765", "10.1", "4.34", "1.00", "1.00", "1.6", "4.1", "32.8"]
            + ["1.7", "6.1", "36.9", "320", "330", "60.0", "6,000", "12"]
            + ["0"] * 6
        ]
        assert page.row("lowtide")[5:9] == ["1.01", "0.93", "4.37", "1.00"]

    def test_a_label_says_what_a_row_is(self, written: Write, expected: dict[str, Any]) -> None:
        expected["variants"][0]["label"] = "No worker management at all."
        assert Page(html(written(expected))).row("without No worker management at all.")[1] == "76"

    def test_several_rounds_show_their_spread(self, written: Write, expected: dict[str, Any]) -> None:
        several(expected)
        page = Page(html(written(expected)))
        assert page.row("without")[3] == "694 650 to 701"
        assert page.row("article")[3] == "640"
        assert "Samples and marks are those of the first of 3 rounds." in page.text
        assert "3 rounds, on one machine." in page.text

    def test_ratios_pair_the_runs_of_a_round(self, written: Write, expected: dict[str, Any]) -> None:
        expected["rounds"] = 3
        for variant, p99 in zip(
            expected["variants"], ((50.0, 100.0, 80.0), (1.0, 1.0, 1.0), (100.0, 50.0, 60.0)), strict=True
        ):
            variant |= {"small_p99_ms": sorted(p99)[1], "rounds": [variant | {"small_p99_ms": value} for value in p99]}
        expected["variants"][2]["rounds"][1]["small_p99_ms"] = 150.0
        # The median of 2.00, 1.50 and 0.75. The ratio of the medians, 60 to 80, would be wrong.
        page = Page(html(written(expected)))
        assert page.row("lowtide")[7] == "1.50"
        assert "| 1.50 |" in report.markdown(checked(expected)).splitlines()[10]

    def test_a_variant_that_was_left_out_is_named(self, written: Write, expected: dict[str, Any]) -> None:
        expected["left_out"] = {"granian": "The stack did not start."}
        said = "granian could not be measured and is left out: The stack did not start."
        assert said in Page(html(written(expected))).text
        console = Console(width=200, record=True)
        console.print(report.terminal(checked(expected)))
        assert said in console.export_text()

    def test_settings_that_differ_from_what_ships_are_named(self, written: Write, expected: dict[str, Any]) -> None:
        expected["settings"] = {"WORKERS": "8", "RELOAD_ON_RSS": "200"}
        said = "Measured with settings that differ from what ships: WORKERS=8, RELOAD_ON_RSS=200."
        assert said in Page(html(written(expected))).text
        assert said in report.markdown(checked(expected))
        console = Console(width=200, record=True)
        console.print(report.terminal(checked(expected)))
        assert said in console.export_text()
        expected["settings"] = {}
        assert "differ from what ships" not in html(written(expected))

    def test_variants_with_the_same_options_share_a_column(self, written: Write, expected: dict[str, Any]) -> None:
        directory = written(expected)
        (directory / "config-without.ini").write_text((directory / "config-article.ini").read_text())
        page = Page(html(directory))
        assert page.row("Option") == ["Option", "without, article", "lowtide"]
        assert page.row("min-worker-lifetime") == ["min-worker-lifetime", "-", "1"]

    def test_checks_are_rows(self, written: Write, expected: dict[str, Any]) -> None:
        fails(expected, 1, 3.96)
        page = Page(html(written(expected)))
        assert page.row("without: end / idle") == ["without: end / idle", "holds", "10.07", "at least 5"]
        assert page.row("lowtide: end / idle") == ["lowtide: end / idle", "does not hold", "3.96", "at most 1.25"]

    def test_the_routes_with_the_highest_peaks_are_rows(self, written: Write, expected: dict[str, Any]) -> None:
        names = ("route", "method", "count", "peak_p50_mb", "peak_max_mb", "retained_mb", "given_back_mb", "seconds")
        expected["variants"][2]["routes"] = [
            dict(zip(names, ("/import/", "POST", 7, 90.1, 171.34, -2.0, 500.0, 3.25), strict=True)),
            dict(zip(names, ("/<b>/", "GET", 7000, 0.0, 0.3, 0.0, 0.0, 9.0), strict=True)),
        ]
        rows = [row[:7] for row in Page(html(written(expected))).rows if len(row) == 8]
        assert rows[1:] == [["lowtide", "POST /import/", "7", "90.1", "171.3", "-2.0", "500.0"]]

    def test_only_options_that_differ(self, written: Write, expected: dict[str, Any]) -> None:
        directory = written(expected)
        with (directory / "config-lowtide.ini").open("a") as config:
            config.write("map-socket = 2:5\n")
        page = Page(html(directory))
        assert page.row("reload-on-rss") == ["reload-on-rss", "-", "512", "128"]
        assert page.row("min-worker-lifetime") == ["min-worker-lifetime", "-", "-", "1"]
        assert page.row("map-socket")[1:] == ["0:1,2 1:3,4", "0:1,2 1:3,4", "0:1,2 1:3,4 2:5"]
        assert not [row for row in page.rows if row and row[0] in ("master", "processes")]

    def test_configuration_that_does_not_differ_or_is_not_there(self, written: Write, expected: dict[str, Any]) -> None:
        directory = written(expected)
        for path in directory.glob("config-*.ini"):
            path.write_text("master = true\n")
        assert "Nothing: the uWSGI options of without, article, lowtide are the same." in Page(html(directory)).text
        for path in directory.glob("config-*.ini"):
            path.unlink()
        assert "the uWSGI options of no variant were recorded" in Page(html(directory)).text

    def test_links_only_to_reports_in_the_directory(self, written: Write, expected: dict[str, Any]) -> None:
        names = ["locust/with out.html", "javascript:alert(1)", "../outside.html"]
        for variant, name in zip(expected["variants"], names, strict=True):
            variant["locust_report"] = name
        directory = written(expected)
        (directory / "locust").mkdir()
        (directory / names[0]).touch()
        (directory.parent / "outside.html").touch()
        addresses = [attributes["href"] for tag, attributes in Page(html(directory)).elements if tag == "a"]
        assert addresses == ["./samples.csv", "./events.csv", "./summary.json", "./locust/with%20out.html"]

    def test_figures_that_were_not_measured(self, written: Write, expected: dict[str, Any]) -> None:
        expected["floor_mb"] = None
        for key in expected["variants"][0]:
            if key.endswith(("_mb", "_ms", "_s", "kills")):
                expected["variants"][0][key] = None
        page = Page(html(written(expected)))
        row = next(row for row in page.rows if row and row[0] == "without" and len(row) > 10)
        assert row[1:14] == ["-"] * 13
        assert "None" not in page.text
        assert "Ideal is" not in page.text
        assert "ideal mean" not in page.text

    def test_rarer_reasons_get_a_column_where_they_occurred(self, written: Write, expected: dict[str, Any]) -> None:
        usual = ["requests", "rss", "lifetime", "died"]
        assert words.reasons(checked(expected)) == usual
        expected["variants"][1]["recycles"]["signal"] = 2
        assert words.reasons(checked(expected)) == [*usual[:3], "signal", "died"]
        assert "signal" in Page(html(written(expected))).text


class TestPagesPictures:
    def test_nothing_is_loaded_from_elsewhere(self, written: Write, expected: dict[str, Any]) -> None:
        text = html(written(expected))
        elements = Page(text).elements
        assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in elements}
        assert all((attributes["href"] or "").startswith("./") for tag, attributes in elements if tag == "a")
        assert not re.search(r"""(?:src|href)=["'](?!\./|#)|url\((?!#)|@import""", text)

    def test_the_picture_is_inline_described_and_follows_the_page(
        self, written: Write, expected: dict[str, Any]
    ) -> None:
        text = html(written(expected))
        assert text.count("<svg") == 2
        assert text.count("var(--memory)") > 2
        pictures = re.sub(r"<style>(?!\*).*?</style>", "", text, count=1, flags=re.DOTALL)
        assert "#0077bb" not in pictures
        described = [
            attributes["aria-label"] for _, attributes in Page(text).elements if attributes.get("role") == "img"
        ]
        assert len(described) == 2
        assert "lowtide: Memory rose from 76 MiB to 309 MiB and came back down" in (described[0] or "")

    def test_the_two_pictures_share_no_id(self, written: Write, expected: dict[str, Any]) -> None:
        text = html(written(expected))
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(ids) == len(set(ids)) > 100
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)

    def test_names_are_escaped(self, written: Write, expected: dict[str, Any]) -> None:
        expected["variants"][0] |= {"name": "<script>alert(1)</script>", "label": "<img src=x>"}
        expected["machine"] = "<b>fast</b>"
        expected["verdict"]["checks"][0]["name"] = "<i>"
        text = html(written(expected))
        for tag in ("<script", "<img", "<b>", "<i>"):
            assert tag not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


class TestTerminal:
    def shown(self, summary: dict[str, Any]) -> str:
        text = io.StringIO()
        Console(file=text, width=80).print(report.terminal(checked(summary)))
        return text.getvalue()

    def test_the_table_fits_80_columns(self, expected: dict[str, Any]) -> None:
        lines = self.shown(expected).splitlines()
        heading = "variant idle peak mean end end/idle p99 ms due p99 failed OOM recycled"
        assert " ".join(lines[0].split()) == heading
        assert lines[3].split() == ["lowtide", "76", "309", "148", "77", "1.01", "17.9", "26.8", "0", "0", "60"]
        assert max(map(len, lines)) <= 80

    def test_it_says_what_happened(self, expected: dict[str, Any]) -> None:
        fails(expected, 1, 3.96)
        expected["variants"][2]["end_mb"] = 301.0
        text = " ".join(self.shown(expected).split())
        assert "without: Memory rose from 76 MiB to 766 MiB and stayed high" in text
        assert "Memory did not come back down. Lowtide ended at 3.96 times" in text
        assert text.endswith("- lowtide: end / idle: measured 3.96, limit at most 1.25.")

    def test_many_variants_are_a_table_alone(self, expected: dict[str, Any]) -> None:
        expected["variants"] = [
            expected["variants"][2] | {"name": name, "peak_mb": 1309.0, "small_p99_ms": 1009.2} for name in VARIANTS
        ]
        text = self.shown(expected)
        (row,) = (words for line in text.splitlines() if (words := line.split())[:1] == ["gunicorn-recycle"])
        assert row[:7] == ["gunicorn-recycle", "76", "1,309", "148", "0.93", "77", "1,009"]
        assert max(map(len, text.splitlines())) <= 80
        assert "Memory rose from" not in text

    def test_names_are_not_markup(self, expected: dict[str, Any]) -> None:
        expected["variants"][0]["name"] = "[red]x"
        assert self.shown(expected).splitlines()[1].startswith("[red]x ")


class TestMarkdown:
    def test_the_tables_and_what_they_were_measured_with(self, expected: dict[str, Any]) -> None:
        several(expected)
        expected["variants"][0] |= {"label": "No worker management at all.", "server": "uWSGI 2.0.31"}
        expected["variants"][2]["server"] = "gunicorn 27.0.1"
        lines = report.markdown(checked(expected)).splitlines()
        assert lines[2] == (
            "| `without` | No worker management at all | 76 (76 to 76) | 766 (766 to 766) | 694 (650 to 701) | 4.34"
            " | 765 (765 to 765) | 0 |"
        )
        latencies = "1.6 | 17.9 | 4.37 | 143.2 | 1.7 | 26.8 | 161.1 | 320 | 1.00 | 330 | 12"
        assert lines[10] == f"| `lowtide` | {latencies} | 60.0 | 0 |"
        assert {line.count("|") for line in lines[:5]} == {9}
        assert {line.count("|") for line in lines[6:11]} == {15}
        assert "Medians of 3 rounds" in lines[12]
        assert lines[14] == "Python 3.13.5, Django 5.2.19, glibc 2.41, uWSGI 2.0.31, gunicorn 27.0.1."

    def test_without_a_base_there_are_no_ratios(self, expected: dict[str, Any]) -> None:
        expected["variants"] = expected["variants"][1:]
        expected["floor_mb"] = None
        assert "| - |" in report.markdown(checked(expected)).splitlines()[2]


def change(**changes: Any) -> Callable[[Path], None]:
    """Put a wrong value into a key of `summary.json`."""

    def apply(directory: Path) -> None:
        path = directory / "summary.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def put(name: str, content: str | bytes) -> Callable[[Path], None]:
    def apply(directory: Path) -> None:
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return apply


def drop(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def twice(directory: Path) -> None:
    variants = json.loads((directory / "summary.json").read_text())["variants"]
    change(variants=[variants[0], variants[0]])(directory)


SAMPLES = "variant,t_s,pss_mb,working_set_mb,requests,workers\n"
EVENTS = "variant,t_s,event,worker,detail\n"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop("summary.json"), r"summary\.json is missing"),
        (drop("samples.csv"), r"samples\.csv is missing"),
        (drop("events.csv"), r"events\.csv is missing"),
        (put("summary.json", "{"), r"summary\.json: .*truncated"),
        (put("summary.json", b"\xff"), r"summary\.json is not UTF-8 text \(byte 0\)"),
        (put("summary.json", "[]"), r"summary\.json: Expected `object`, got `array`"),
        (change(schema=2), r"Invalid enum value 2 - at `\$\.schema`"),
        (change(floor_mb="much"), r"got `str` - at `\$\.floor_mb`"),
        (change(variants=[]), r"length >= 1 - at `\$\.variants`"),
        (change(variants=[{"name": "without"}]), r"missing required field `idle_mb` - at `\$\.variants\[0\]`"),
        (change(load={"seed": 1}), r"missing required field `workers` - at `\$\.load`"),
        (change(verdict={"holds": False, "checks": [{"name": "a", "value": 1, "limit": 1, "holds": True}]}),
         r"contradicts its checks - at `\$\.verdict\.holds`"),
        (change(verdict={"holds": True, "checks": [{"name": "a\x1b[2J", "value": 1, "limit": 1, "holds": True}]}),
         r"at `\$\.verdict\.checks\[0\]\.name`"),
        (twice, r"variant 'without' is listed twice"),
        (put("samples.csv", ""), r"samples\.csv line 1: column 'variant' is missing"),
        (put("samples.csv", "variant,t_s\n"), r"samples\.csv line 1: column 'pss_mb' is missing"),
        (put("samples.csv", SAMPLES + "lowtide,0,1,,1,4\nlowtide,1,lots,,1,4\n"),
         r"samples\.csv line 3: .*at `\$\.pss_mb`"),
        (put("samples.csv", SAMPLES + "lowtide,nan,1,,1,4\n"), r"samples\.csv line 2: .*at `\$\.t_s`"),
        (put("samples.csv", SAMPLES + "lowtide,1,inf,,1,4\n"), r"samples\.csv line 2: .*at `\$\.pss_mb`"),
        (put("samples.csv", SAMPLES + "lowtide\n"), r"samples\.csv line 2: .*at `\$\.t_s`"),
        (put("samples.csv", SAMPLES + "other,0,1,,1,4\n"), r"line 2: variant 'other' is not in summary\.json"),
        (put("samples.csv", SAMPLES + '"lowtide,0,1,,1,4\n'), r"samples\.csv line 2: unexpected end of data"),
        (put("events.csv", EVENTS + "lowtide,1,exploded,1,\n"), r"events\.csv line 2: .*'exploded' - at `\$\.event`"),
        (put("config-lowtide.ini", "master = true\nnonsense\n"), r"config-lowtide\.ini line 2: .*'nonsense'"),
    ],
)  # fmt: skip
def test_broken_files_are_named(
    written: Write, expected: dict[str, Any], damage: Callable[[Path], None], message: str
) -> None:
    directory = written(expected)
    damage(directory)
    with pytest.raises(ResultError, match=message) as raised:
        files.read(directory)
    assert "\n" not in str(raised.value)


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtest.results.report", str(directory), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_makes_everything_again(written: Write, expected: dict[str, Any]) -> None:
    directory = written(expected)
    done = run(directory)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Memory came back down" in done.stdout
    assert {"memory.png", "memory.svg", "report.html"} <= {path.name for path in directory.iterdir()}


def test_the_command_prints_markdown_and_writes_nothing(written: Write, expected: dict[str, Any]) -> None:
    directory = written(expected)
    done = run(directory, "--markdown")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("|  | what it is | idle |")
    assert not (directory / "report.html").exists()


def test_the_command_fails_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"report: .*nowhere/summary\.json is missing: run `make loadtest` to make it\n", done.stderr)


def test_a_name_with_a_path_reads_no_other_file(written: Write, expected: dict[str, Any]) -> None:
    directory = written(expected)
    (directory / "config-x").mkdir()
    (directory / "secret.ini").write_text("key = secret\n")
    expected["variants"][0]["name"] = "x/../secret"
    change(variants=expected["variants"])(directory)
    for name in ("samples.csv", "events.csv"):
        with (directory / name).open() as file:
            rows = [row for row in csv.reader(file) if row[0] != "without"]
        with (directory / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    assert "x/../secret" not in files.read(directory).options
