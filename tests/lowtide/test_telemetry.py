"""What the reports cost: nothing while they are off, and else what their libraries take."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys, django.db, django.forms, django.http, django.template.engine
from lowtide import memory, telemetry
known = set(sys.modules)
before = memory.rss_mb()
reports = telemetry.chosen(frozenset())
loaded = memory.rss_mb()
if reports:
    reports.start()
print(json.dumps([len(set(sys.modules) - known), loaded - before, memory.rss_mb() - loaded]))
"""
OTEL = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
SENTRY = {"SENTRY_DSN": "http://planted@127.0.0.1:9/1"}


@pytest.mark.parametrize("switches", [{}, OTEL, SENTRY, OTEL | SENTRY], ids=["off", "otel", "sentry", "both"])
def test_what_it_costs(switches: dict[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", CODE], env=os.environ | switches, stdout=subprocess.PIPE, check=True)
    modules, loaded_mb, started_mb = json.loads(done.stdout)
    print(f"{modules} modules, {loaded_mb:.1f} MiB before the fork, {started_mb:.1f} MiB in each worker")
    assert bool(modules) == bool(switches)
    # Workers share what is loaded before the fork; what begins after it is paid by each.
    assert started_mb < 5
    if not switches:
        assert loaded_mb < 0.5
