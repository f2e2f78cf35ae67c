"""From measurements to the files of a result: summary.json, samples.csv, events.csv, config-VARIANT.ini."""

import csv
import json
import os
import statistics
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.measure import servers
from loadtest.measure.needs import Need
from loadtest.measure.phases import Measured

# Requests that Locust did not send, each second: in Docker the health checks of two containers, every 5 s each.
OTHERS_PER_S = {"docker": 0.4, "local": 0.0}
SUDDEN = ("died", "hung", "oom")


def machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpus": os.cpu_count(), "memory_mb": pages // 2**20}


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def row(measured: Measured, uwsgi: str) -> dict[str, Any]:
    """One run of one variant; `uwsgi` is that server's version."""
    loaded = [s.pss_mb for s in measured.samples if measured.load_start <= s.time <= measured.load_end]
    after = [s.pss_mb for s in measured.samples if measured.load_start <= s.time]
    reasons = Counter(event.event for event in measured.events)
    log = measured.latencies
    return {
        "name": measured.variant.name,
        "label": measured.variant.label,
        "server": servers.described(measured.variant, uwsgi),
        "idle_mb": measured.idle_mb,
        "worker_rss_mb": measured.worker_rss_mb,
        "peak_mb": max(after),
        "mean_mb": round(statistics.fmean(loaded), 1),
        "end_mb": measured.end_mb,
        "requests": log.requests,
        "server_requests": measured.server_requests,
        "failures": log.failures,
        "oom_kills": measured.oom_kills,
        "wall_s": round(measured.load_end - measured.load_start, 2),
        "small_p50_ms": log.small_p50_ms,
        "small_p99_ms": log.small_p99_ms,
        "small_max_ms": log.small_max_ms,
        "large_p50_ms": log.large_p50_ms,
        "recycles": {
            **{reason: reasons[reason] for reason in ("requests", "rss", "lifetime")},
            "died": sum(reasons[reason] for reason in SUDDEN),
            **{reason: reasons[reason] for reason in ("idle", "signal", "hung", "oom")},
        },
        "locust_report": f"locust-{measured.variant.name}.html",
    }


def merged(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One entry of `variants`: of several rounds the median of each figure, of failures and OOM kills the worst.

    `rounds` then holds the single rows, in order.
    """
    if len(rows) == 1:
        return rows[0]
    return medians(rows) | {"rounds": rows}


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = dict(rows[0])
    for key, first in rows[0].items():
        values = [row[key] for row in rows if row[key] is not None]
        if isinstance(first, dict):
            found[key] = medians(values)
        elif key in ("failures", "oom_kills"):
            found[key] = max(values)
        elif isinstance(first, int):
            found[key] = statistics.median_low(values)
        elif isinstance(first, float):
            found[key] = round(statistics.median(values), 2)
    return found


def floor_mb(without: dict[str, Any], needs: dict[str, Need], counts: Counter[str]) -> float:
    """What an ideal server would average: idle, and each large request's need only while it runs."""
    area = sum(counts[name] * need.mib_s for name, need in needs.items())
    return round(float(without["idle_mb"] + area / without["wall_s"]), 1)


def check(name: str, value: float, limit: float, at_least: bool = False) -> dict[str, Any]:
    holds = value >= limit if at_least else value <= limit
    return {"name": name, "value": round(value, 3), "limit": limit, "at_least": at_least, "holds": holds}


def verdict(rows: list[dict[str, Any]], runtime: str) -> dict[str, Any]:
    """Was the inflation reproduced, and does `lowtide` keep what it promises?"""
    by_name = {row["name"]: row for row in rows}
    checks = []
    for row in rows:
        if row["server_requests"] is None:
            continue
        extra = max(abs(each["server_requests"] - each["requests"]) for each in row.get("rounds", [row]))
        others = row["wall_s"] * OTHERS_PER_S[runtime]
        allowed = round(others + 3) if others else 0
        checks.append(check(f"{row['name']}: requests that only one of server and client counted", extra, allowed))
    without, lowtide = by_name.get("without"), by_name.get("lowtide")
    if without:
        ratio = without["end_mb"] / without["idle_mb"]
        checks.append(check("without: end over idle, the inflation", ratio, 5, at_least=True))
    if lowtide:
        checks.append(check("lowtide: end over idle", lowtide["end_mb"] / lowtide["idle_mb"], 1.25))
        checks.append(check("lowtide: failed requests", lowtide["failures"], 0))
        checks.append(check("lowtide: OOM kills", lowtide["oom_kills"], 0))
    if without and lowtide:
        checks.append(check("lowtide: peak over the peak of without", lowtide["peak_mb"] / without["peak_mb"], 0.6))
    return {"holds": all(each["holds"] for each in checks), "checks": checks}


def write(
    directory: Path,
    measured: list[list[Measured]],
    needs: dict[str, Need] | None,
    counts: Counter[str],
    head: dict[str, Any],
    load: dict[str, Any],
) -> dict[str, Any]:
    """Write every file but the pictures and the report; returns the summary.

    `measured` has the runs of each variant, one a round. Samples and events are those of the first.
    """
    firsts = [of_variant[0] for of_variant in measured]
    uwsgi = head["environment"]["uwsgi"]
    rows = [merged([row(each, uwsgi) for each in of_variant]) for of_variant in measured]
    without = next((each for each in rows if each["name"] == "without"), None)
    summary = {
        "schema": 1,
        **head,
        "load": load,
        "floor_mb": floor_mb(without, needs, counts) if without and needs else None,
        "needs": {name: asdict(need) for name, need in (needs or {}).items()},
        "variants": rows,
        "verdict": verdict(rows, head["runtime"]),
    }
    (directory / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    with (directory / "samples.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["variant", "t_s", "pss_mb", "working_set_mb", "requests", "workers"])
        for each in firsts:
            base = [s.requests or 0 for s in each.samples if s.time < each.load_start][-1]
            for s in each.samples:
                working_set = "" if s.working_set_mb is None else s.working_set_mb
                t = round(s.time - each.load_start, 2)
                requests = max(0, (s.requests or 0) - base)
                workers = "" if s.workers is None else s.workers
                out.writerow([each.variant.name, t, s.pss_mb, working_set, requests, workers])
    with (directory / "events.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["variant", "t_s", "event", "worker", "detail"])
        for each in firsts:
            for event in each.events:
                t = round(event.time - each.load_start, 2)
                out.writerow([each.variant.name, t, event.event, event.worker or "", event.detail])
    for each in firsts:
        if each.configuration is not None:
            (directory / f"config-{each.variant.name}.ini").write_text(each.configuration)
    return summary
