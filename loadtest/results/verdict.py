"""The checks that a run has to pass, with their limits, which stand here and nowhere else."""

from collections.abc import Sequence

from loadtest.results.types import Check, Variant, Verdict, ratio

# Limits of memory at the end over idle memory. At INFLATED or more the problem was reproduced; at CAME_BACK or less it
# counts as solved.
INFLATED = 3.0
CAME_BACK = 1.25
# The most that the peak of `lowtide` may be of the peak of `without`.
PEAK_SHARE = 0.6
# If memory peaks below this multiple of idle memory, it has hardly risen.
ROSE = 1.5
# For a deployment instead of CAME_BACK: it is not started anew before it is measured, and others use it meanwhile.
DEPLOYMENT_CAME_BACK = 1.5
# Requests a second that Locust did not send: in Docker the health checks of two containers, each every 5 s.
OTHERS_PER_S = {"docker": 0.4, "local": 0.0}


def check(name: str, value: float | None, limit: float, at_least: bool = False) -> Check:
    """A comparison; a value that was not measured does not hold."""
    holds = value is not None and (value >= limit if at_least else value <= limit)
    return Check(name, None if value is None else round(value, 3), limit, holds, at_least)


def _verdict(checks: list[Check]) -> Verdict:
    return Verdict(all(one.holds for one in checks), checks)


def experiment(variants: Sequence[Variant], runtime: str, inflates: bool) -> Verdict:
    """Whether memory came back in `lowtide` without a loss and, if the load `inflates`, stayed high in `without`."""
    by_name = {variant.name: variant for variant in variants}
    without, lowtide = by_name.get("without"), by_name.get("lowtide")
    checks = [counted for variant in variants if (counted := _counted(variant, runtime))]
    if without and inflates:
        checks.append(check("without: end over idle, the inflation", without.end_to_idle(), INFLATED, at_least=True))
    if lowtide:
        checks += [
            check("lowtide: end over idle", lowtide.end_to_idle(), CAME_BACK),
            check("lowtide: failed requests", lowtide.failures, 0),
            check("lowtide: OOM kills", lowtide.oom_kills, 0),
        ]
    if without and lowtide and inflates:
        share = ratio(lowtide.peak_mb, without.peak_mb)
        checks.append(check("lowtide: peak over the peak of without", share, PEAK_SHARE))
    return _verdict(checks)


def _counted(variant: Variant, runtime: str) -> Check | None:
    """Whether server and client counted the same requests, in every round; None where the server does not count."""
    differences = [
        abs(single.server_requests - single.requests)
        for single in variant.rounds or [variant]
        if isinstance(single.server_requests, int)
    ]
    if not differences:
        return None
    others = (variant.wall_s or 0) * OTHERS_PER_S[runtime]
    allowed = round(others + 3) if others else 0
    return check(f"{variant.name}: requests that only one of server and client counted", max(differences), allowed)


def deployment(variant: Variant, requests: int) -> Verdict:
    """The checks that are possible from outside a deployment, to which `requests` requests were to be sent."""
    return _verdict(
        [
            check("failed requests", variant.failures, 0),
            check("requests of the list that were not sent", requests - variant.requests, 0),
            check("end over idle", variant.end_to_idle(), DEPLOYMENT_CAME_BACK),
        ]
    )
