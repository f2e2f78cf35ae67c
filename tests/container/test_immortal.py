"""Workers in the image, whose Python has immortal objects, share what is loaded before the fork."""

import json

import pytest

from tests.container.stack import Stack
from tests.lowtide.test_immortal import SCRIPT, expected

pytestmark = pytest.mark.container

PRIVATE = """
from lowtide import memory, sample
pids = sample.uwsgi("/run/lowtide/stats.sock").workers
fields = [memory.fields_mb(pid, "smaps_rollup", "Private_Dirty") for pid in pids]
print(max(mb for mb, in fields))
"""


def test_this_python_has_immortal_objects(stack: Stack) -> None:
    done = stack.execute("app", "python", "-c", SCRIPT.read_text())
    assert json.loads(done.stdout) == expected(can_be=True)


def test_a_worker_copies_less_of_what_is_loaded(healthy: Stack) -> None:
    def private_mb(immortal: str) -> float:
        """Of the worker that has the most, after pages for all of them."""
        healthy.env["IMMORTAL"] = immortal
        healthy.up()
        for _ in range(200):
            assert healthy.get("/admin/login/").status_code == 200
        return float(healthy.python(PRIVATE))

    assert private_mb("1") < 0.75 * private_mb("0")
