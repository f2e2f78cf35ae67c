"""Memory of the server beside Locust's own figures: a tab of its web page, and a picture in its report.

`register(environment)` in a locustfile is enough. LOWTIDE_METRICS in the environment names the server's page of metrics
(`lowtide.metrics`, http://127.0.0.1:9117/metrics); without it nothing happens. The process that has the web page, or
the only one, reads that page once a second; Locust's workers do not.
"""

import os
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtest.load.live import chart, tab
from loadtest.load.live.recorder import Recorder

INTERVAL_S = 1.0


def register(environment: Environment) -> Recorder | None:
    """Call this in Locust's `init` event. Returns what records; None where nothing is recorded."""
    address = os.environ.get("LOWTIDE_METRICS")
    if not address or isinstance(environment.runner, WorkerRunner):
        return None

    def requests() -> int:
        return environment.runner.stats.total.num_requests if environment.runner else 0

    recorder = Recorder(address, requests, os.environ.get("LOWTIDE_VARIANT") or "this server")

    def start(**_: Any) -> None:
        recorder.start()

    def draw_into_report(**_: Any) -> None:
        options = environment.parsed_options
        if recorder.runs and options and options.html_file and Path(options.html_file).exists():
            report = Path(options.html_file)
            report.write_text(chart.into_page(report.read_text("utf-8"), recorder.runs), "utf-8")

    environment.events.test_start.add_listener(start)  # type: ignore[no-untyped-call]
    # Locust has written the report by then.
    environment.events.quitting.add_listener(draw_into_report)  # type: ignore[no-untyped-call]
    if environment.web_ui:
        tab.add(environment, recorder)

    def read_for_ever() -> None:
        while True:
            recorder.read()
            gevent.sleep(INTERVAL_S)

    gevent.spawn(read_for_ever)
    return recorder
