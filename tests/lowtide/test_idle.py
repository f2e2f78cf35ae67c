"""What workers learn from each other: which memory a successor takes again, and which was only left over."""

from lowtide.idle import Learned

THRESHOLD_MB = 8


def replace_while_worth_it(learned: Learned, live_mb: float, worker: int = 1, most: int = 20) -> int:
    """How many workers in a row are replaced when each comes to hold `live_mb`."""
    for number in range(most):
        if not learned.worth_replacing(worker, live_mb, live_mb):
            return number
        learned.let_go(worker, live_mb)
    return most


def test_what_comes_back_is_needed_by_all() -> None:
    learned = Learned(4, THRESHOLD_MB)
    assert replace_while_worth_it(learned, 30) == 1
    assert learned.needed_mb == 30
    assert replace_while_worth_it(learned, 30, worker=2) == 0
    # A leak on top of the needed memory does not count as needed.
    assert learned.worth_replacing(1, 60, 60)


def test_what_does_not_come_back_is_not_needed() -> None:
    learned = Learned(1, THRESHOLD_MB)
    learned.let_go(1, 30)
    assert not learned.worth_replacing(1, 2, 2)
    assert learned.needed_mb == 0
    assert learned.worth_replacing(1, 30, 9)


def test_what_is_left_over_is_let_go_every_time() -> None:
    learned = Learned(1, THRESHOLD_MB)
    for _ in range(5):
        assert learned.worth_replacing(1, 12, 0)
        learned.let_go(1, 0)
    assert learned.needed_mb == 0


def test_a_cache_that_fills_costs_few_workers() -> None:
    learned = Learned(1, THRESHOLD_MB)
    replaced = sum(replace_while_worth_it(learned, float(live_mb), most=5) for live_mb in range(4, 200, 4))
    assert replaced <= 10
