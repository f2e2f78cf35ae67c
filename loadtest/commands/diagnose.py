"""`manage.py diagnose` on data of its own: `make diagnose ARGS="--path / --times 30"`.

The requests really run. So that they change nobody's rows, the database is made anew and filled as for the experiment.
Environment: VAR_DIR, LOADTEST_ENV. Every option but --database-i-own is passed on to `manage.py diagnose`, and its exit
code is the exit code of this command.
"""

import shlex
import sys

from loadtest.commands.session import chosen_sizing, guarded, parser, stack_environment
from loadtest.load import scenarios
from loadtest.measure.runtimes import Local

MANAGE = ["python", "-m", "lowtide.application", "manage"]


def run(owned: list[str], words: list[str]) -> int:
    scenario = scenarios.named("default")
    runtime = Local(0, stack_environment(chosen_sizing(scenario, runtime="local")), owned)
    print(f"Sending requests to the application on a database of its own, {runtime.database}", file=sys.stderr)
    runtime.prepare()
    for command in scenarios.seed_commands(scenario, seed=1):
        runtime.run([*MANAGE, *shlex.split(command)])
    return runtime.run_here([*MANAGE, "diagnose", *(words or ["--path", scenarios.described().page])])


if __name__ == "__main__":
    options, others = parser("loadtest.commands.diagnose", __doc__).parse_known_args()
    raise SystemExit(guarded(lambda: run(options.database_i_own, others)))
