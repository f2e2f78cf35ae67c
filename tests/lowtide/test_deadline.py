"""The kernel ends a process that is over its time, and leaves one alone that is not."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import signal, threading, time
from lowtide.deadline import Deadline
signal.signal(signal.SIGALRM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
deadline = Deadline()
deadline.set(0.2)
{then}
"""


@pytest.mark.parametrize("then", ["time.sleep(60)", "lock = threading.Lock(); lock.acquire(); lock.acquire()"])
def test_whatever_hangs_is_ended(then: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(then=then)], timeout=30)
    assert done.returncode == -signal.SIGKILL


def test_a_bound_that_was_taken_away_ends_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(then="deadline.set(0); time.sleep(0.5)")], timeout=30)
    assert done.returncode == 0
