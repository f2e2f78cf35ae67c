"""The defaults of the stack's settings.

Files that cannot import this module (.env.example, Compose, nginx, Kubernetes, CloudFormation) have copies of them,
which tests/test_defaults.py and tests/deploy/test_sizing.py compare.
"""

import math
import os

WORKERS = 4
# How many of WORKERS are only for large requests; with 0 one pool serves everything.
LARGE_WORKERS = 1
# How many large requests may run and wait at once, how many small ones, and how many of one client.
LARGE_IN_FLIGHT = 8
SMALL_IN_FLIGHT = 64
CLIENT_IN_FLIGHT = 64
# How many seconds a request may wait for a worker; 0 means no limit.
QUEUE_S = 20
# How far a worker may grow before its request is refused: auto, off, or MiB.
WORKER_CEILING = "auto"
# Whether large requests are admitted by the memory that they need: off, auto, or MiB for all of them together.
ADMISSION = "off"
# Whether small workers hand requests that have turned out to be large to the large pool: 1, or 0 for no.
LEARN_ROUTES = "0"
# Whether what is loaded before the fork is made immortal where Python can: 1, or 0 for no.
IMMORTAL = "1"
WORKER_MANAGEMENT = "lowtide"
# The settings below are in MiB.
RELOAD_ON_RSS = 128
GIVE_BACK_MB = 8
MAX_BODY_MB = 32
# A request with at least this peak gets a line in the log.
LEDGER = 32


def variables() -> dict[str, str]:
    """All defaults, as variables of the environment."""
    return {name: str(value) for name, value in globals().items() if name.isupper()}


def from_environment_mb(name: str, zero: str) -> float:
    """GIVE_BACK_MB or LEDGER of the environment, in MiB. `zero` says what 0 means.

    Raises:
        ValueError: it is no number of at least 0.
    """
    value = os.environ.get(name) or str(globals()[name])
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}={value} cannot be used: write a number of MiB, or 0 for {zero}.")
    return number
