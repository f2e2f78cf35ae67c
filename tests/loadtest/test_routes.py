"""Which request is named at the highest point of the picture."""

import json

import pytest

from loadtest.measure import routes
from loadtest.measure.sampling import Sample

SAMPLES = [Sample(100.0, 900.0), Sample(110.0, 80.0), Sample(111.0, 300.0), Sample(112.0, 90.0)]


def line(ended: float, seconds: float, route: str, peak_mb: float) -> str:
    figures = {"event": "large-request", "time": ended, "method": "GET", "route": route}
    return json.dumps(figures | {"peak_mb": peak_mb, "seconds": seconds})


@pytest.mark.parametrize(
    ("lines", "request_"),
    [
        ([line(111.2, 0.5, "/small/", 40), line(111.9, 1.5, "/large/", 150)], "GET /large/"),
        ([line(111.2, 0.5, "/ran/", 40), line(110.9, 0.8, "/over/", 400), line(113, 1, "/later/", 400)], "GET /ran/"),
        ([line(111.2, 0.5, "/a\u0007b/", 40)], "GET /a?b/"),
        (["[pid: 7] no json", '{"event": "recycle"}'], None),
    ],
)
def test_it_is_the_largest_that_ran_when_memory_was_highest(lines: list[str], request_: str | None) -> None:
    assert routes.of_peak(lines, SAMPLES, start=105.0) == request_
