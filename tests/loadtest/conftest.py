"""A result directory as the experiment writes it. Its figures are made up, but like those measured on two cores."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import pytest

from loadtest.load import scenarios
from loadtest.load.requests_log import Logged

# These tests use a description of their own, whatever application is in app/.
ASKED = Path(__file__).parent / "asked"
LOAD_S, QUIET_S = 60.0, 15.0
CONFIG = "master = true\nprocesses = 4\nmap-socket = 0:1,2\nmap-socket = 1:3,4\n"
ARTICLE = "max-requests = 1000\nmax-worker-lifetime = 3600\nreload-on-rss = 512\nworker-reload-mercy = 60\n"
LOWTIDE = ARTICLE.replace("512", "128") + "min-worker-lifetime = 1\n"


def variant(name: str, peak: float, mean: float, end: float, p99: float, **recycles: int) -> dict[str, Any]:
    return {
        "name": name, "idle_mb": 76.0, "peak_mb": peak, "mean_mb": mean, "end_mb": end,
        "requests": 6000, "failures": 0, "oom_kills": 0, "wall_s": LOAD_S,
        "small_p50_ms": 1.6, "small_p99_ms": p99, "small_max_ms": 8 * p99, "large_p50_ms": 320.0,
        "small_due_p50_ms": 1.7, "small_due_p99_ms": 1.5 * p99, "small_due_max_ms": 9 * p99, "large_due_p50_ms": 330.0,
        "pushed_back": 12,
        "recycles": {"requests": 0, "rss": 0, "lifetime": 0, "died": 0} | recycles,
    }  # fmt: skip


def summary() -> dict[str, Any]:
    """A summary of three variants with the expected outcome; each test changes what it needs."""
    return {
        "schema": 1,
        "runtime": "local",
        "environment": {
            "cpus": 2, "memory_mb": 24105, "python": "3.13.5", "uwsgi": "2.0.31", "django": "5.2.19",
            "libc": "glibc 2.41",
        },
        "load": {"seed": 1, "workers": 4, "requests": 6000, "large_requests": 60, "large_body_mb": 23.0},
        "floor_mb": 160.0,
        "variants": [
            variant("without", 766.0, 694.0, 765.0, 4.1),
            variant("article", 767.0, 640.0, 604.0, 4.3, requests=5),
            variant("lowtide", 309.0, 148.0, 77.0, 17.9, rss=60),
        ],
        "verdict": {
            "holds": True,
            "checks": [
                {"name": "without: end / idle", "value": 10.07, "limit": 5.0, "holds": True},
                {"name": "lowtide: end / idle", "value": 1.01, "limit": 1.25, "holds": True},
                {"name": "lowtide: failed requests", "value": 0, "limit": 0, "holds": True},
            ],
        },
        "scenario": "default",
        "started": "2026-01-31T12:00:00+00:00",
        "an_extra_key": ["ignored"],
    }  # fmt: skip


def memory(of: dict[str, Any], t: float) -> float:
    """PSS at `t`: a climb in four steps, or a saw-tooth in the variant whose workers are replaced on RSS."""
    if t < 0:
        return 76.0
    if of["recycles"]["rss"]:
        since = t % 1.0
        return 76 + (233 * (0.4 + 0.6 * ((t * 0.37) % 1.0)) * since if t < LOAD_S else 1)
    drops = of["recycles"]["requests"]
    drop = 165 if drops and t % (LOAD_S / drops) < 3 else 0
    level = float(of["end_mb"] or 76) if t >= LOAD_S else 76 + 690 * min(1.0, int(t * 1.3 + 1) / 8)
    return max(76.0, level - (drop if 3 < t < LOAD_S else 0))


def write(directory: Path, summary: dict[str, Any], working_set: bool = False) -> Path:
    """Write the files that the experiment writes for this summary."""
    (directory / "summary.json").write_text(json.dumps(summary))
    with (directory / "samples.csv").open("w", newline="") as samples, (directory / "events.csv").open("w") as events:
        rows, marks = csv.writer(samples), csv.writer(events)
        rows.writerow(["variant", "t_s", "pss_mb", "working_set_mb", "requests", "workers"])
        marks.writerow(["variant", "t_s", "event", "worker", "detail"])
        for of in summary["variants"]:
            name = of["name"]
            for half_second in range(-8, int(2 * (LOAD_S + QUIET_S)) + 1):
                t = half_second / 2
                served = of["requests"] * min(1.0, max(0.0, t / LOAD_S))
                pss = memory(of, t)
                rows.writerow([name, t, f"{pss:.1f}", f"{pss + 40:.1f}" if working_set else "", int(served), 4])
            marks.writerow([name, 0, "load-start", "", ""])
            marks.writerow([name, LOAD_S, "load-end", "", ""])
            for reason, amount in (of["recycles"] | {"oom": of["oom_kills"] or 0}).items():
                for index in range(amount):
                    marks.writerow([name, (index + 0.5) * LOAD_S / amount, reason, index % 4 + 1, ""])
            if "/" not in name:
                options = {"article": ARTICLE, "lowtide": LOWTIDE}.get(name, "")
                (directory / f"config-{name}.ini").write_text(CONFIG + options)
    return directory


def row(**changes: Any) -> Logged:
    """A small request as Locust logs it, sent when it was due."""
    sent = changes.get("sent", 10.0)
    plain = {"due": sent, "pushed_back": 0, "sent": sent, "method": "GET", "name": "small: list"}
    plain |= {"response_time_ms": 2.0, "response_length": 10, "status_code": 200, "exception": ""}
    return Logged(**(plain | changes))


def write_log(path: Path, *rows: Logged) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(field.name for field in fields(Logged))
        out.writerows(map(astuple, rows))


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("APP_DIR", str(ASKED))
    scenarios.described.cache_clear()
    yield
    scenarios.described.cache_clear()


Write = Callable[..., Path]


@pytest.fixture
def expected() -> dict[str, Any]:
    return summary()


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Write a summary with its other files; returns the directory."""

    def make(summary: dict[str, Any], working_set: bool = False) -> Path:
        return write(tmp_path, summary, working_set)

    return make
