"""The sizing rule: one case worked out by hand, then what must hold for many loads and limits."""

import itertools

import pytest
from dotenv import dotenv_values

from lowtide import application, defaults, sizing
from lowtide.sizing import Load, TooSmall, bound, check, recommend
from lowtide.tools.sizes import docker_mb
from tests.machine import CHECKOUT

LOAD = Load(idle_mb=100, workers=4, worker_rss_mb=50, large_mb=150, worker_private_mb=15)
GRID = [
    (Load(idle, measured, rss, large, private), workers, large_workers, memory)
    for idle, measured, rss, large, private in itertools.product((60, 200), (1, 4), (30, 60), (0, 90.5), (None, 12))
    for workers, large_workers in ((None, None), (4, 1), (4, 0), (8, 3), (1, 0))
    for memory in (None, 200, 512, 4096)
]


def fitting() -> list[tuple[sizing.Sizing, int | None]]:
    results = []
    for load, workers, large_workers, memory in GRID:
        try:
            results.append((recommend(load, memory, workers, large_workers), memory))
        except TooSmall:
            continue
    return results


def test_the_rule_by_hand() -> None:
    # 100 + 4 x (90 - 50) + 1 x 165 + 32; the need is a tenth more than was measured.
    needed = bound(LOAD, 4, 1, 90)
    assert needed.total_mb == 457
    assert needed.rest_mb == 292
    assert needed.least_mb == 265
    assert needed.words() == ("idle 100 + 4 workers x 40 of growth + 1 large request x 165 + headroom 32 = 457 MiB")


def test_one_pool_reserves_a_large_request_for_every_worker() -> None:
    assert bound(LOAD, 4, 0, 90).total_mb == 457 + 3 * 165


def test_a_limit_below_the_idle_worker_is_no_growth() -> None:
    assert bound(LOAD, 4, 1, 40).growth_mb == 0


def test_unknown_rss_counts_the_lower_end_as_growth() -> None:
    load = Load(100, 4, 100, 150, worker_rss_least_mb=20)
    assert bound(load, 4, 1, 150).growth_mb == 130


@pytest.mark.parametrize(
    ("private", "workers", "expected"),
    [(15, 6, 130), (15, 2, 70), (15, 1, 55), (60, 1, 50), (None, 6, 150), (None, 2, 100)],
)
def test_idle_memory_with_another_number_of_workers(private: float | None, workers: int, expected: float) -> None:
    assert Load(100, 4, 50, 150, private).idle_with(workers) == expected


@pytest.mark.parametrize(("rss", "expected"), [(20, 44), (48, 72), (50, 75), (101, 152)])
def test_least_reload_on_rss_leaves_room_over_an_idle_worker(rss: float, expected: int) -> None:
    assert sizing.least_reload_on_rss(Load(500, 4, rss, 10)) == expected


def test_every_recommendation_fits_its_limit() -> None:
    results = fitting()
    assert len(results) > 100
    for sizing_, memory in results:
        assert sizing_.bound.total_mb <= sizing_.hard_mb
        assert memory is None or sizing_.hard_mb == memory
        assert sizing_.bound.rest_mb <= sizing_.hard_mb
        assert sizing_.soft_mb <= sizing_.hard_mb
        assert sizing_.large_workers < sizing_.workers


def test_the_limits_stand_in_their_order() -> None:
    """idle RSS < reload-on-rss; a worker there may serve the largest request below its ceiling; and all workers at
    their ceilings are within the container's limit."""
    for sizing_, _ in fitting():
        load, (small_mb, large_mb) = sizing_.load, sizing_.ceilings_mb
        assert sizing_.reload_on_rss_mb >= load.worker_rss_mb + sizing.LEAST_GROWTH_MB
        assert large_mb > sizing_.bound.growth_mb + load.large_mb - 1
        grown = (sizing_.workers - sizing_.large_workers) * small_mb + sizing_.large_workers * large_mb
        assert sizing_.bound.idle_mb + grown + sizing_.bound.headroom_mb <= sizing_.hard_mb + 0.001


def test_no_limit_given_is_the_smallest_that_fits() -> None:
    recommended = recommend(LOAD)
    assert recommended.reload_on_rss_mb == sizing.least_reload_on_rss(LOAD) == 75
    assert (recommended.bound.total_mb, recommended.hard_mb) == (397, 400)
    assert recommend(LOAD, 397, 4, 1).hard_mb == 397
    with pytest.raises(TooSmall):
        recommend(LOAD, 396, 4, 1)


def test_spare_memory_raises_reload_on_rss_up_to_twice_an_idle_worker() -> None:
    # The limit leaves 43 MiB over the 397, which are 10.75 for each of 4 workers.
    assert recommend(LOAD, 440).reload_on_rss_mb == 85
    assert recommend(LOAD, 4096).reload_on_rss_mb == 100


def test_short_memory_takes_workers_away_before_it_gives_up() -> None:
    assert (recommend(LOAD, 400).workers, recommend(LOAD, 360).workers, recommend(LOAD, 280).workers) == (4, 3, 1)
    with pytest.raises(TooSmall) as caught:
        recommend(LOAD, 270)
    assert (caught.value.bound.workers, caught.value.memory_mb) == (1, 270)
    with pytest.raises(TooSmall):
        recommend(LOAD, 360, workers=4)


def test_workers_and_large_workers_not_given() -> None:
    recommended = recommend(Load(400, 16, 50, 100, 15), 8192)
    assert (recommended.workers, recommended.large_workers) == (16, 4)
    # The rule takes away large workers first, and others only then.
    tight = recommend(Load(400, 16, 50, 100, 15), 16 * 25 + 400 + 110 + 32)
    assert (tight.workers, tight.large_workers) == (16, 1)
    single = recommend(Load(70, 1, 50, 100))
    assert (single.workers, single.large_workers) == (1, 0)


def test_large_workers_leave_one_for_small_requests() -> None:
    with pytest.raises(ValueError, match="4 large workers of 4 leave none"):
        recommend(LOAD, 4096, workers=4, large_workers=4)


@pytest.mark.parametrize("values", [(0, 4, 50, 10), (100, 0, 50, 10), (100, 4, 0, 10), (100, 4, 50, -1)])
def test_a_load_that_is_none_is_refused(values: tuple[float, int, float, float]) -> None:
    with pytest.raises(ValueError, match="not a server"):
        Load(*values)


@pytest.mark.parametrize(
    ("limit", "fits", "possible", "starts"),
    [
        (457, True, True, "Memory bound: idle 100 + 4 workers x 40"),
        (456, False, True, "Warning: memory bound: idle 100"),
        (265, False, True, "Warning: memory bound: idle 100"),
        (264, False, False, "Refused: the container's limit of 264 MiB is below idle 100 + one large request 165"),
        (None, True, True, "Memory bound: idle 100"),
    ],
)
def test_check_at_start(limit: float | None, fits: bool, possible: bool, starts: str) -> None:
    checked = check(4, 1, 90, 165, limit, LOAD)
    assert (checked.fits, checked.possible) == (fits, possible)
    assert checked.line.startswith(starts)
    assert "\n" not in checked.line
    assert "= 457 MiB" in checked.line or "= 265 MiB" in checked.line


def test_check_without_recycling_lets_every_worker_keep_a_large_request() -> None:
    assert check(4, 1, 0, 165, 1024, LOAD).bound.total_mb == 100 + 4 * 165 + 165 + 32


def test_what_the_stack_ships_fits_its_own_limit() -> None:
    load = sizing.measured(application.read(CHECKOUT / "app"))
    if load is None:
        pytest.skip("nothing was measured of this application: its lowtide.toml has no [measured]")
    limit_mb = docker_mb(dotenv_values(CHECKOUT / ".env.example")["APP_MEMORY"] or "")
    shipped = (defaults.WORKERS, defaults.LARGE_WORKERS, defaults.RELOAD_ON_RSS)
    assert check(*shipped, load.need_mb, limit_mb, load).fits


@pytest.mark.parametrize(("workers", "limit"), [(1, 256), (4, 512), (4, 1024), (16, 8192)])
def test_the_highest_reload_on_rss_of_what_nobody_measured_just_fits(workers: int, limit: int) -> None:
    highest = sizing.highest_reload_on_rss(workers, limit)
    assert sizing.unmeasured_bound(workers, highest).total_mb <= limit
    assert sizing.unmeasured_bound(workers, highest + 1).total_mb > limit
    # The same rule without measured figures: they are estimated from reload-on-rss.
    load = sizing.supposed(workers, highest)
    assert sizing.bound(load, workers, 1, highest).total_mb == pytest.approx(
        sizing.unmeasured_bound(workers, highest).total_mb, abs=1
    )


@pytest.mark.parametrize("large_workers", [0, 1, 2])
@pytest.mark.parametrize("limit_mb", [700, 1024, 4096])
def test_workers_at_their_ceilings_fit_together(large_workers: int, limit_mb: int) -> None:
    load = sizing.Load(97, 4, 53, 100, 14.5)
    bound = sizing.bound(load, 4, large_workers, 90)
    small, large = sizing.ceilings(bound, large_workers, limit_mb, 64)
    together = bound.idle_mb + (4 - large_workers) * small + large_workers * large + sizing.HEADROOM_MB + 64
    assert together <= limit_mb or bound.total_mb + 64 > limit_mb
    # A container as large as the rule asks for is never refused.
    assert small >= int(bound.growth_mb)
    assert large >= int(bound.growth_mb + bound.need_mb)
