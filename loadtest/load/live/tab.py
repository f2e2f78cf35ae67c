"""The Memory tab of Locust's web page: Locust makes the tab, and the script below puts /memory into it.

Every address asks for Locust's login where that is on (--web-login).
"""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import gevent
from flask import Response, abort, jsonify, request
from locust.env import Environment

from loadtest.load.live import chart
from loadtest.load.live.recorder import Gap, Reading, Recorder, Run, to_csv

PAGE = Path(__file__).with_name("page.html")
# Locust's own tab stays empty. The page is shown in it while the address says ?tab=memory.
SCRIPT = """<script>(() => {
  const frame = document.createElement("iframe");
  frame.id = "lowtide-memory"; frame.title = "Memory"; frame.src = "./memory";
  frame.style.cssText = "display:none;border:0;width:100%;position:absolute;left:0;z-index:1";
  document.body.append(frame);
  setInterval(() => {
    const on = new URLSearchParams(location.search).get("tab") === "memory";
    const tabs = document.querySelector('[role="tablist"]');
    frame.style.display = on && tabs ? "block" : "none";
    if (!on || !tabs) return;
    frame.style.top = tabs.getBoundingClientRect().bottom + scrollY + 8 + "px";
    const page = frame.contentDocument;
    if (!page || !page.body) return;
    frame.style.height = page.body.scrollHeight + 16 + "px";
    page.documentElement.dataset.under = getComputedStyle(document.body).backgroundColor;
  }, 250);
})()</script>"""


def add(environment: Environment, recorder: Recorder) -> None:
    """Add the tab and its addresses to the web page of this Locust."""
    web = environment.web_ui
    assert web  # noqa: S101 - for the type checker
    assert web.app  # noqa: S101
    web.template_args["extended_tabs"] = [{"title": "Memory", "key": "memory"}]
    variants = os.environ.get("LOWTIDE_VARIANTS", "").split()
    control = os.environ.get("LOWTIDE_CONTROL", "")

    def page() -> Response:
        return Response(PAGE.read_text(), mimetype="text/html")

    def data() -> Response:
        last = recorder.last
        figures = None if isinstance(last, Gap) else last
        return jsonify(
            runs=[run.label for run in recorder.runs],
            readings=sum(isinstance(row, Reading) for run in recorder.runs[-1:] for row in run.readings),
            gap=last.reason if isinstance(last, Gap) else "",
            pss_mb=figures and figures.pss_mb,
            requests=figures and figures.requests,
            workers=figures.workers if figures else {},
            routes=figures.routes if figures else [],
            variant=recorder.variant,
            variants=variants,
            running=running(environment),
        )

    def picture() -> Response:
        width = min(max(request.args.get("width", 900, int), 320), 2000)
        workers, dark = (request.args.get(name) == "1" for name in ("workers", "dark"))
        return Response(chart.svg(chosen(), workers, width, dark), mimetype="image/svg+xml")

    def download() -> Response:
        headers = {"Content-Disposition": "attachment; filename=memory.csv"}
        return Response(to_csv(recorder.runs), mimetype="text/csv", headers=headers)

    def switch() -> Response:
        # Another site's page cannot send JSON here without asking first.
        name = (request.get_json(silent=True) or {}).get("variant")
        if not control or name not in variants:
            abort(404)
        if running(environment):
            return jsonify(problem="Stop the run first.")
        recorder.end()
        recorder.away = f"{name} is being started"
        try:
            problem = tell(control, str(name))
        finally:
            recorder.away = ""
        if not problem:
            recorder.variant = str(name)
        return jsonify(problem=problem)

    def chosen() -> list[Run]:
        """The runs that the address names by their places, the last one otherwise."""
        places = [int(place) for place in request.args.get("runs", "").split(",") if place.isdecimal()]
        return [run for place, run in enumerate(recorder.runs) if place in places] or recorder.runs[-1:]

    def change(response: Response) -> Response:
        if response.status_code != 200 or response.mimetype != "text/html" or response.direct_passthrough:
            return response
        if request.endpoint == "locust.index":
            head, end, tail = response.get_data(as_text=True).rpartition("</body>")
            response.set_data(f"{head}{SCRIPT}{end}{tail}")
        elif request.endpoint == "locust.stats_report" and recorder.runs:
            response.set_data(chart.into_page(response.get_data(as_text=True), recorder.runs))
        return response

    app, options = web.app, environment.parsed_options
    guarded: Callable[[Callable[[], Response]], Callable[[], Response]] = web.auth_required_if_enabled
    base = (getattr(options, "web_base_path", "") or "").rstrip("/")
    for path, view in {
        "": page,
        "/data.json": data,
        "/chart.svg": picture,
        "/memory.csv": download,
    }.items():
        app.add_url_rule(f"{base}/memory{path}", f"memory{path}", guarded(view))
    app.add_url_rule(f"{base}/memory/variant", "memory/variant", guarded(switch), methods=["POST"])
    app.after_request(change)


def running(environment: Environment) -> bool:
    return environment.runner is not None and environment.runner.state not in ("ready", "stopped")


def tell(path: str, name: str) -> str:
    """Have the stack started as another variant (loadtest/commands/ui.py). Returns what went wrong, or ""."""
    with socket.socket(socket.AF_UNIX) as connection, gevent.Timeout(300, False):
        try:
            connection.connect(path)
            connection.sendall(f"{name}\n".encode())
            answer = connection.makefile().read()
        except OSError as error:
            return f"The command that started this page does not answer: {error}"
        return answer.strip().removeprefix("started")
    return f"{name} did not start within five minutes."
