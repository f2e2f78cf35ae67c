"""Workers in the image, whose Python has immortal objects, share what is loaded before the fork."""

import json
from pathlib import Path

import pytest

from tests import described, immortal_objects
from tests.container.stack import Stack

pytestmark = pytest.mark.container

PRIVATE = """
from lowtide import memory, sample
pids = sample.uwsgi("/run/lowtide/stats.sock").workers
fields = [memory.fields_mb(pid, "smaps_rollup", "Private_Dirty") for pid in pids]
print(max(mb for mb, in fields))
"""


def test_this_python_has_immortal_objects(stack: Stack) -> None:
    done = stack.execute("app", "python", "-c", Path(immortal_objects.__file__).read_text())
    assert json.loads(done.stdout) == immortal_objects.expected(can_be=True)


def test_a_worker_copies_less_of_what_is_loaded(healthy: Stack) -> None:
    def private_mb(immortal: str) -> float:
        """Of the worker that has the most, after pages for all of them."""
        healthy.env["IMMORTAL"] = immortal
        healthy.up()
        for _ in range(200):
            assert healthy.get(described.PAGE).status_code == 200
        return float(healthy.python(PRIVATE))

    assert private_mb("1") < 0.75 * private_mb("0")
