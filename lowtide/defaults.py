"""What the settings of the stack are where nobody sets them.

This is their one home. Files that cannot import it (.env.example, Compose, nginx, Kubernetes, CloudFormation) hold
copies, which tests/test_defaults.py and tests/deploy/test_sizing.py compare.
"""

WORKERS = 4
# Of WORKERS, for large requests; 0 is one pool for everything.
LARGE_WORKERS = 1
# How many large requests may run and wait at once, how many small ones, and how many of one client.
LARGE_IN_FLIGHT = 8
SMALL_IN_FLIGHT = 64
CLIENT_IN_FLIGHT = 64
# How many seconds a request may wait for a worker; 0 is any.
QUEUE_S = 20
# How far a worker may grow before its request is refused: auto, off, or MiB.
WORKER_CEILING = "auto"
WORKER_MANAGEMENT = "lowtide"
# The rest in MiB.
RELOAD_ON_RSS = 128
GIVE_BACK_MB = 8
MAX_BODY_MB = 32
# From which peak a request is a line of the log.
LEDGER = 32


def variables() -> dict[str, str]:
    """All of them, as the environment has them."""
    return {name: str(value) for name, value in globals().items() if name.isupper()}
