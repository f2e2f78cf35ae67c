"""Locust's web page, against a stack that is started for it, on data of its own: `make loadtest-ui`.

Its Memory tab shows the server's memory, and starts the stack as another variant between two runs.

Environment: SCENARIO, QUICK, SEED, RUNTIME, LOADTEST_PORT, VARIANTS as for the experiment; LOCUST_PORT (8089);
METRICS_PORT (9118), the stack's page of metrics. Ctrl-C ends all of it. Exit codes: 0 ended, 2 could not be started.
"""

import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from loadtest.commands.session import (
    check_machine,
    check_port,
    chosen_runtime,
    chosen_scenario,
    chosen_sizing,
    chosen_variants,
    fill,
    guarded,
    number,
    parser,
    session,
)
from loadtest.load import scenarios
from loadtest.load.scenarios import Scenario
from loadtest.measure import CannotMeasure, client, servers, site
from loadtest.measure.runtimes import STATE, Runtime
from loadtest.measure.variants import VARIANTS, Variant
from stack import CHECKOUT, Failed, own


def run(owned: list[str]) -> int:
    name = chosen_scenario()
    scenario = scenarios.named(name)
    variants = chosen_variants()
    seed, port, page = number("SEED", "1"), number("LOADTEST_PORT", "18080"), number("LOCUST_PORT", "8089")
    metrics = number("METRICS_PORT", "9118")
    runtime = chosen_runtime(port, chosen_sizing(scenario), owned)
    check_machine(port, scenario)
    check_port(page, "LOCUST_PORT")
    check_port(metrics, "METRICS_PORT")
    with session(runtime) as progress, suppress(KeyboardInterrupt):
        progress("seeding")
        fill(runtime, VARIANTS["without"], scenario, seed)
        progress("starting")
        start(runtime, variants[0], metrics, scenario)
        progress.end()
        control = STATE / "control.sock"
        control.unlink(missing_ok=True)
        command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--host", runtime.url]
        command += ["--web-host", "127.0.0.1", "--web-port", str(page)]
        environment = client.described(name, seed) | {
            "LOWTIDE_METRICS": f"http://127.0.0.1:{metrics}/metrics",
            "LOWTIDE_VARIANT": variants[0].name,
            "LOWTIDE_VARIANTS": " ".join(variant.name for variant in variants),
            "LOWTIDE_CONTROL": str(control),
        }
        with (
            socket.socket(socket.AF_UNIX) as listener,
            subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True) as locust,
        ):
            try:
                listen(listener, control)
                print(f"Locust: http://127.0.0.1:{page}, against {runtime.url} (Ctrl-C ends all)", flush=True)
                while locust.poll() is None:
                    with suppress(TimeoutError):
                        switch(listener.accept()[0], runtime, variants, metrics, scenario)
            finally:
                locust.terminate()
                control.unlink(missing_ok=True)
    return 0


def listen(listener: socket.socket, path: Path) -> None:
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(1)
    # How often to look whether Locust has ended, in seconds.
    listener.settimeout(0.5)


def start(runtime: Runtime, variant: Variant, metrics: int, scenario: Scenario) -> None:
    runtime.start(servers.environment(variant, runtime.name))
    # The picture calls the memory before the run ideal. A worker that has served nothing is smaller than it can stay.
    site.warm_up(runtime.url, scenario)
    runtime.serve_metrics(metrics, None if variant.server == "uwsgi" else runtime.server_pid())


def switch(
    connection: socket.socket, runtime: Runtime, variants: Sequence[Variant], metrics: int, scenario: Scenario
) -> None:
    """The Memory tab asks for another variant: start it, and say when that is done or why it is not."""
    with connection, connection.makefile("rw") as words:
        connection.settimeout(5)
        name = words.readline().strip()
        try:
            wanted = next((variant for variant in variants if variant.name == name), None)
            if wanted is None:
                raise CannotMeasure(f"There is no variant {name}.")
            runtime.stop()
            start(runtime, wanted, metrics, scenario)
            answer = "started"
        except (CannotMeasure, Failed, own.NotOwn) as problem:
            answer = str(problem)
        with suppress(OSError):
            words.write(f"{answer}\n")
            words.flush()


if __name__ == "__main__":
    options = parser("loadtest.commands.ui", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
