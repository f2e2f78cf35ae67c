"""Prints a sizing as text or JSON, with the reason for each number, and as snippets for configuration files."""

import json
import textwrap
from dataclasses import asdict, dataclass

from lowtide.sizing import Load, Sizing, TooSmall, bound, counted, least_reload_on_rss, recommend, step_up
from lowtide.tools.size.apply import terms
from lowtide.tools.size.sources import Figures

_WIDTH = 110


@dataclass(frozen=True)
class Number:
    """One recommended number; `unit` is MiB, s, requests or empty."""

    name: str
    value: int
    unit: str
    why: str


def numbers(sizing: Sizing) -> list[Number]:
    """Every recommended number with a sentence that explains it."""
    load, found = sizing.load, sizing.bound
    small_ceiling_mb, large_ceiling_mb = sizing.ceilings_mb
    who = f"a large worker (a small one: {small_ceiling_mb})" if sizing.large_workers else "a worker"
    if sizing.large_workers:
        at_once = "so many large requests run at once, and only these workers can inflate; small requests never wait"
    elif sizing.workers == 1:
        at_once = "a single worker has only one pool"
    else:
        at_once = f"one pool: all {sizing.workers} workers may serve a large request at the same time"
    if sizing.workers == load.workers:
        workers = "as many as were measured; processors, not memory, are a reason for more"
    elif sizing.workers < load.workers:
        workers = f"{load.workers} were measured; these are what the memory carries, or what was asked for"
    else:
        workers = f"as asked for; {load.workers} were measured, each more adds its own idle memory"
    return [
        Number("workers", sizing.workers, "", workers),
        Number("large-workers", sizing.large_workers, "", at_once),
        Number(
            "large-need",
            sizing.need_mb,
            "MiB",
            f"the largest request added {load.large_mb:.0f} at its peak; a tenth more for a larger one",
        ),
        Number(
            "reload-on-rss",
            sizing.reload_on_rss_mb,
            "MiB",
            f"an idle worker's RSS is {load.worker_rss_mb:.0f}, shared pages included; what it keeps beyond this "
            "replaces it, and less would replace it for nothing",
        ),
        Number(
            "worker-ceiling",
            large_ceiling_mb,
            "MiB",
            f"how far {who} may grow: beyond this its request is answered 503 and the worker is replaced, before the "
            "kernel picks a victim; WORKER_CEILING=auto works it out at the start, from the limit less what a tmpfs "
            "may hold",
        ),
        Number(
            "max-requests",
            sizing.max_requests,
            "requests",
            f"a leak of {found.growth_mb * 1024 / sizing.max_requests:.0f} KiB a request or less ends here, a faster "
            "one at reload-on-rss",
        ),
        Number(
            "max-requests-delta",
            sizing.max_requests_delta,
            "requests",
            "each worker lives a tenth longer than the one before, so they do not leave together",
        ),
        Number(
            "max-worker-lifetime",
            sizing.max_worker_lifetime_s,
            "s",
            "for workers that serve too few requests for max-requests: an hour",
        ),
        Number(
            "max-worker-lifetime-delta", sizing.max_worker_lifetime_delta_s, "s", "a tenth again, so never together"
        ),
        Number("hard limit", sizing.hard_mb, "MiB", f"{found.words()}; the kernel kills beyond the limit"),
        Number(
            "soft limit",
            sizing.soft_mb,
            "MiB",
            f"the most without a large request running, {found.rest_mb:.0f}: what to reserve, and what an alarm on "
            "utilisation is relative to",
        ),
    ]


def ini(sizing: Sizing) -> str:
    small = ",".join(str(worker) for worker in range(1, sizing.workers - sizing.large_workers + 1))
    large = ",".join(str(worker) for worker in range(sizing.workers - sizing.large_workers + 1, sizing.workers + 1))
    pools = f"""
# The first `socket =` line is for small requests, the second for large ones; nginx tells them apart. Without a second
# line the workers mapped to it would answer nobody: `lowtide size --large-workers 0` sizes one pool.
map-socket = 0:{small}
map-socket = 1:{large}"""
    return f"""[uwsgi]
master = true
processes = {sizing.workers}{pools if sizing.large_workers else ""}
max-requests = {sizing.max_requests}
max-requests-delta = {sizing.max_requests_delta}
max-worker-lifetime = {sizing.max_worker_lifetime_s}
max-worker-lifetime-delta = {sizing.max_worker_lifetime_delta_s}
reload-on-rss = {sizing.reload_on_rss_mb}
# The defaults keep young workers whatever they hold, and let the master sleep when several respawn.
min-worker-lifetime = 0
forkbomb-delay = 0
worker-reload-mercy = 60
"""


def env(sizing: Sizing) -> str:
    return f"""WORKERS={sizing.workers}
LARGE_WORKERS={sizing.large_workers}
LARGE_NEED_MB={sizing.need_mb}
RELOAD_ON_RSS={sizing.reload_on_rss_mb}
WORKER_CEILING=auto
APP_MEMORY={sizing.hard_mb}m
"""


def compose(sizing: Sizing) -> str:
    return f"""services:
  app:
    mem_limit: {sizing.hard_mb}m
    # The same number: no swap.
    memswap_limit: {sizing.hard_mb}m
    mem_reservation: {sizing.soft_mb}m
    environment:
      WORKERS: "{sizing.workers}"
      LARGE_WORKERS: "{sizing.large_workers}"
      LARGE_NEED_MB: "{sizing.need_mb}"
      RELOAD_ON_RSS: "{sizing.reload_on_rss_mb}"
      WORKER_CEILING: auto
"""


def _environment(sizing: Sizing) -> list[dict[str, str]]:
    pairs = (line.split("=", 1) for line in env(sizing).splitlines() if not line.startswith("APP_MEMORY"))
    return [{"name": name, "value": value} for name, value in pairs]


def ecs(sizing: Sizing) -> str:
    container = {
        "name": "app",
        "memory": sizing.hard_mb,
        "memoryReservation": sizing.soft_mb,
        "environment": _environment(sizing),
    }
    return json.dumps({"containerDefinitions": [container]}, indent=2) + "\n"


def kubernetes(sizing: Sizing) -> str:
    variables = "".join(
        f'        - name: {pair["name"]}\n          value: "{pair["value"]}"\n' for pair in _environment(sizing)
    )
    return f"""spec:
  containers:
    - name: app
      resources:
        requests:
          memory: {sizing.soft_mb}Mi
        limits:
          memory: {sizing.hard_mb}Mi
      env:
{variables}"""


def app(sizing: Sizing) -> str:
    """The measured figures for app/lowtide.toml, by which the server's start and the deployments judge memory."""
    lines = (f"{name} = {value:g}" for name, value in terms(sizing.load).items())
    return "\n".join(("[measured]", *lines, ""))


SNIPPETS = {"ini": ini, "env": env, "compose": compose, "ecs": ecs, "kubernetes": kubernetes, "app": app}


def _paragraph(text: str, indent: str = "") -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)


def measured(figures: Figures, load: Load) -> list[str]:
    """The measured figures, as sentences."""
    rss = f"{load.worker_rss_mb:.0f}"
    if load.worker_rss_least_mb:
        rss = f"between {load.worker_rss_least_mb:.0f} and {rss} (not measured, so the worse end counts each time)"
    sentences = [
        f"From {figures.source}: idle {load.idle_mb:.0f} MiB with {counted(load.workers, 'worker')}, RSS of one "
        f"worker {rss}, one large request {load.large_mb:.0f}.",
        *figures.notes,
    ]
    if load.worker_rss_least_mb:
        sentences.append(
            "To need less memory, add --worker-rss-mb: RSS of an idle worker (ps -o rss, KiB), or --stats SOCKET."
        )
    return sentences


def text(figures: Figures, sizing: Sizing, kinds: list[str]) -> str:
    lines = [_paragraph(sentence) for sentence in measured(figures, sizing.load)]
    lines += ["", _paragraph(f"At the worst: {sizing.bound.words()}, within {sizing.hard_mb} MiB."), ""]
    for number in numbers(sizing):
        lines.append(f"{number.name} = {number.value}{' ' + number.unit if number.unit else ''}")
        lines.append(_paragraph(number.why, "    "))
    for kind in kinds:
        lines += ["", f"--- {kind}", SNIPPETS[kind](sizing).rstrip("\n")]
    return "\n".join(lines) + "\n"


def remedies(load: Load, problem: TooSmall, workers: int | None, large_workers: int | None) -> list[str]:
    """What would be enough, as sentences with numbers."""
    least_bound = problem.bound
    first = recommend(load, None, workers, large_workers)
    sentences = [f"{first.hard_mb} MiB would carry {_what(first.workers, first.bound.large_at_once)}."]
    if least_bound.workers < first.workers:
        what = _what(least_bound.workers, least_bound.large_at_once)
        sentences.append(f"{step_up(least_bound.total_mb)} MiB would carry {what}, the least there is.")
    if workers or large_workers is not None:
        try:
            fits = recommend(load, problem.memory_mb)
            sentences.append(
                f"In {problem.memory_mb:.0f} MiB {counted(fits.workers, 'worker')} of which {fits.large_workers} for "
                "large requests would fit."
            )
        except TooSmall:
            pass
    smallest = bound(load, 1, 0, least_reload_on_rss(load)) if not workers else least_bound
    room = (problem.memory_mb - smallest.rest_mb) / smallest.large_at_once
    if room > 0:
        sentences.append(f"Or let no request need more than {room:.0f} MiB: stream instead of building it in memory.")
    return sentences


def _what(workers: int, large: int) -> str:
    return f"{counted(workers, 'worker')} and {counted(large, 'large request')} at once"


def too_small(figures: Figures, load: Load, problem: TooSmall, wanted: tuple[int | None, int | None]) -> str:
    sentences = [
        *measured(figures, load),
        "",
        f"{problem.memory_mb:.0f} MiB cannot carry this: {problem.bound.words()}.",
        *remedies(load, problem, *wanted),
    ]
    return "\n".join(_paragraph(sentence) if sentence else "" for sentence in sentences) + "\n"


def as_json(figures: Figures, load: Load, result: Sizing | TooSmall, wanted: tuple[int | None, int | None]) -> str:
    """`{"schema": 1, "fits", "measured", "bound", ...}`, then the numbers and snippets, or what would be enough."""
    terms = result.bound
    answer: dict[str, object] = {
        "schema": 1,
        "fits": isinstance(result, Sizing),
        "measured": {"source": figures.source, **asdict(load), "notes": figures.notes},
        "bound": {**asdict(terms), "rest_mb": terms.rest_mb, "total_mb": terms.total_mb},
    }
    if isinstance(result, Sizing):
        answer["numbers"] = [asdict(number) for number in numbers(result)]
        answer["snippets"] = {name: make(result) for name, make in SNIPPETS.items()}
    else:
        answer["memory_mb"] = result.memory_mb
        answer["instead"] = remedies(load, result, *wanted)
    return json.dumps(answer, indent=2) + "\n"
