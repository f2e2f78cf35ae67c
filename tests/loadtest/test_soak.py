"""What the verdict of `make soak` counts. The night workflow runs the command itself."""

import random

from loadtest.commands import soak
from loadtest.commands.soak import Answer, Happened
from loadtest.measure import faults
from loadtest.measure.faults import Fault

KILL = Fault("worker", "a worker killed", lambda _: None, loses=1)
RELOAD = Fault("nginx", "nginx reloaded", lambda _: None)


def lost(sent: float, ended: float) -> Answer:
    return Answer("small", sent, ended, "502")


def test_a_fault_may_cost_what_it_may_cost_and_no_more() -> None:
    happened = [Happened(RELOAD, 5, 6, 7), Happened(KILL, 10, 11, 12)]
    assert soak.unexpected([lost(9, 10.5)], happened) == 0
    assert soak.unexpected([lost(9, 10.5), lost(11, 11.5)], happened) == 1
    # At these times nothing happened that may lose a request.
    assert soak.unexpected([lost(5, 6), lost(8, 9.5), lost(13, 15)], happened) == 3


def test_the_verdict_says_what_does_not_hold() -> None:
    calm = [Answer("small", 1, 2, "served"), Answer("small", 3, 4, "refused")]
    happened = [Happened(RELOAD, 5, 6, 7), Happened(KILL, 10, 11, None)]
    failed = {check.name: check.value for check in soak.verdict(calm, happened, 1.3, 4, 3).checks if not check.holds}
    assert failed == {
        "requests refused while there was no fault": 1,
        "faults after which it did not serve again": 1,
        "memory at the end, in idles": 1.3,
        "workers at the end": 3,
    }
    assert soak.verdict(calm[:1], happened[:1], 0.9, 4, 4).holds


def test_the_table_counts_the_requests_of_a_faults_time() -> None:
    answers = [Answer("small", 10, 11, "served"), Answer("small", 11, 12, "refused"), lost(11, 11.5), lost(9, 21)]
    shown = soak.table(answers, [Happened(KILL, 10, 11, 12)], [KILL, RELOAD])
    assert shown.rows == [
        ["a worker killed", "1", "3", "1", "1", "1", "1.0"],
        ["nginx reloaded", "0", "0", "0", "0", "0", "-"],
    ]


def test_a_seed_gives_the_order_and_every_fault_comes_before_one_comes_twice() -> None:
    kinds = faults.all_faults(7)
    first, again = (faults.order(kinds, random.Random(3)) for _ in range(2))  # noqa: S311
    names = [next(first).name for _ in range(2 * len(kinds))]
    assert names == [next(again).name for _ in range(2 * len(kinds))]
    assert len(set(names[: len(kinds)])) == len(kinds)
