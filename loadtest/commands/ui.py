"""Locust's web page, against a stack that is started for it, on data of its own: `make loadtest-ui`.

Environment: SCENARIO, QUICK, SEED, RUNTIME, LOADTEST_PORT as for the experiment; LOCUST_PORT (8089).
Ctrl-C ends both. Exit codes: 0 ended, 2 could not be started.
"""

import subprocess
import sys
from contextlib import suppress

from loadtest.commands.session import (
    check_machine,
    check_port,
    chosen_runtime,
    chosen_scenario,
    chosen_sizing,
    fill,
    guarded,
    number,
    parser,
    session,
)
from loadtest.load import scenarios
from loadtest.measure import client, servers
from loadtest.measure.runtimes import CHECKOUT
from loadtest.measure.variants import VARIANTS


def run(owned: list[str]) -> int:
    name = chosen_scenario()
    scenario = scenarios.named(name)
    seed, port, page = number("SEED", "1"), number("LOADTEST_PORT", "18080"), number("LOCUST_PORT", "8089")
    runtime = chosen_runtime(port, chosen_sizing(scenario), owned)
    check_machine(port, scenario)
    check_port(page, "LOCUST_PORT")
    with session(runtime) as progress, suppress(KeyboardInterrupt):
        progress("seeding")
        fill(runtime, VARIANTS["without"], scenario, seed)
        progress("starting")
        runtime.start(servers.environment(VARIANTS["lowtide"]))
        progress.end()
        command = [sys.executable, "-m", "locust", "-f", "loadtest/load/locustfile.py", "--host", runtime.url]
        command += ["--web-host", "127.0.0.1", "--web-port", str(page)]
        environment = client.described(name, seed)
        with subprocess.Popen(command, cwd=CHECKOUT, env=environment, start_new_session=True) as locust:
            try:
                print(f"Locust: http://127.0.0.1:{page}, against {runtime.url} (Ctrl-C ends both)", flush=True)
                locust.wait()
            finally:
                locust.terminate()
    return 0


if __name__ == "__main__":
    options = parser("loadtest.commands.ui", __doc__).parse_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own)))
