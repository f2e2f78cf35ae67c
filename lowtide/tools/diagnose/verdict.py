"""From two measurements to one verdict. Every threshold is in LIMITS, every rule in `_rules`."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from lowtide.memory import MIB
from lowtide.tools.diagnose.measure import Plain, Traced


class Limits(NamedTuple):
    """What counts. Below these, growth and loss are noise, or too little to matter.

    Attributes:
        live_bytes: a leak: live Python heap gained by each request. 100 bytes make 100 MB in a million requests.
        malloc_bytes: native growth: what malloc holds, gained by each request beyond the live Python heap.
        mapped_bytes: native growth outside malloc: resident memory, gained by each request, after giving back.
        cache_bytes: a cache: what the live heap gained in all before it stopped.
        kept_mb: retention and fragmentation: resident memory that no live object explains, MiB.
        requests: fewer measured requests than this weaken every verdict.
    """

    live_bytes: float = 100
    malloc_bytes: float = 1024
    mapped_bytes: float = 64 * 1024
    cache_bytes: float = 64 * 1024
    kept_mb: float = 8.0
    requests: int = 20


LIMITS = Limits()
PROBLEMS = ("leak", "native", "fragmentation", "debug")
_WINDOWS = 5
_POINTS = 60


@dataclass(frozen=True)
class Diagnosis:
    """The verdict; `evidence` is plain data, and `reasons` say why confidence is not high."""

    verdict: str
    confidence: str
    sentence: str
    evidence: dict[str, Any]
    next: str
    reasons: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where the application's code or settings need work; clean, retention and a cache that is full do not."""
        return 1 if self.verdict in PROBLEMS else 0

    def document(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "verdict": self.verdict,
            "confidence": self.confidence,
            "evidence": {"summary": self.sentence, "reservations": self.reasons, **self.evidence},
            "next": self.next,
        }


@dataclass(frozen=True)
class Trend:
    """Where a series goes, one value a request.

    Attributes:
        slope: its growth a request over the second half: the median of the slopes between all pairs of points
            (Theil and Sen), which single outliers do not move.
        steps: differences between the medians of five successive windows of the second half.
        grew: from its first value to the median of its last window.
        rises: how many values are higher than all before.
    """

    slope: float
    steps: tuple[float, ...]
    grew: float
    rises: int

    def grows(self, limit: float) -> bool:
        """Still growing at the end: fast enough, and from each window to the next."""
        return self.slope >= limit and all(step > 0 for step in self.steps)

    def grew_and_stopped(self, limit: float) -> bool:
        """Grew in several steps, `limit` in all, and not any more in the last two windows."""
        return self.grew >= limit and self.rises >= 3 and self.steps[-1] <= limit / 16


def _windows(values: list[float], count: int) -> list[float]:
    """The medians of `count` successive windows, or the values themselves where they are fewer."""
    count = min(count, len(values))
    edges = [len(values) * part // count for part in range(count + 1)]
    return [median(values[start:end]) for start, end in pairwise(edges)]


def theil_sen(values: list[float]) -> float:
    """The median of the slopes between all pairs of these values, in units of a step from one to the next."""
    points = _windows(values, _POINTS)
    slopes = [(b - a) / (j - i) for i, a in enumerate(points) for j, b in enumerate(points[i + 1 :], start=i + 1)]
    return median(slopes) * len(points) / len(values)


def trend(values: list[float]) -> Trend:
    """The trend of at least ten values."""
    half = values[len(values) // 2 :]
    windows = _windows(half, _WINDOWS)
    highest, rises = values[0], 0
    for value in values:
        if value > highest:
            highest, rises = value, rises + 1
    return Trend(theil_sen(half), tuple(b - a for a, b in pairwise(windows)), windows[-1] - values[0], rises)


@dataclass(frozen=True)
class _Facts:
    """What the rules look at. Bytes a request, and MiB."""

    live: Trend
    malloc: Trend | None
    mapped: float
    fell_mb: float
    left_mb: float
    queries: Trend
    held_queries: float


def _facts(plain: Plain, traced: Traced, warm_up: int) -> _Facts:
    live_mb = (median(traced.live_bytes[-5:]) - traced.base_bytes) / MIB
    falls = [plain.anonymous_mb[number - 1] - left for number, left in _trims(plain)]
    after = median(plain.trimmed_mb or plain.anonymous_mb[-5:])
    # What neither malloc gave back nor pymalloc's arenas explain, from checkpoint to checkpoint.
    arenas = plain.arenas_mb or [0.0] * len(plain.trimmed_mb)
    other = [left - arena for left, arena in zip(plain.trimmed_mb, arenas, strict=True)]
    gaps = [b - a for a, b in pairwise(plain.checkpoints)]
    mapped = min((step / gap for step, gap in zip((b - a for a, b in pairwise(other)), gaps, strict=True)), default=0)
    return _Facts(
        live=trend(traced.live_bytes[warm_up:]),
        malloc=trend(plain.malloc_bytes[warm_up:]) if plain.malloc_bytes else None,
        mapped=mapped * MIB,
        fell_mb=median(falls) if falls else 0.0,
        left_mb=after - plain.base_mb - max(0.0, live_mb),
        queries=trend(traced.queries[warm_up:]),
        held_queries=median(traced.queries[warm_up:]),
    )


def _trims(plain: Plain) -> list[tuple[int, float]]:
    return list(zip(plain.checkpoints, plain.trimmed_mb, strict=False))


def _rules(facts: _Facts, traced: Traced) -> str:
    """The verdict. The first rule that fits decides: growth without end comes first, then what is only kept."""
    live, beyond_live = facts.live, max(0.0, facts.live.slope)
    in_database_log = any("django/db/backends" in place for line in traced.lines[:1] for place in line["traceback"])
    if facts.queries.grows(0.5) or (traced.django_debug and in_database_log and live.grows(LIMITS.live_bytes)):
        return "debug"
    if live.grows(LIMITS.live_bytes):
        return "cache" if traced.bound else "leak"
    if facts.malloc and facts.malloc.grows(beyond_live + LIMITS.malloc_bytes):
        return "native"
    if facts.mapped >= beyond_live + LIMITS.mapped_bytes:
        return "native"
    if traced.django_debug:
        return "debug"
    if live.grew_and_stopped(LIMITS.cache_bytes):
        return "cache"
    if max(facts.fell_mb, facts.left_mb) >= LIMITS.kept_mb:
        return "retention" if facts.fell_mb >= facts.left_mb else "fragmentation"
    return "clean"


def judge(plain: Plain, traced: Traced, warm_up: int) -> Diagnosis:
    """The diagnosis. Both measurements hold `warm_up` requests and at least ten more."""
    facts = _facts(plain, traced, warm_up)
    verdict = _rules(facts, traced)
    if verdict == "retention" and not plain.trimmed_mb:
        verdict = "fragmentation"
    reasons = _reservations(verdict, facts, plain, traced, len(traced.live_bytes) - warm_up)
    confidence = ("high", "medium", "low")[min(2, len(reasons))]
    if not _ok(plain) or not plain.trimmed_mb:
        confidence = "low"
    evidence = {
        "requests": len(traced.live_bytes) - warm_up,
        "warm_up": warm_up,
        "statuses": plain.statuses,
        "live_heap": {
            "growth_bytes_per_request": round(facts.live.slope, 1),
            "windows_bytes": [round(step) for step in facts.live.steps],
            "grew_bytes": round(facts.live.grew),
            "mb": round(traced.live_bytes[-1] / MIB, 2),
        },
        "resident": {
            "before_mb": round(plain.base_mb, 1),
            "end_mb": round(plain.anonymous_mb[-1], 1),
            "peak_mb": round(plain.peak_mb, 1),
            "given_back_mb": round(facts.fell_mb, 1),
            # Below zero is noise: the two processes do not hold the same to the page.
            "unexplained_mb": max(0.0, round(facts.left_mb, 1)),
            "growth_after_trim_bytes_per_request": round(facts.mapped),
            "trim_unavailable": plain.trim_unavailable,
        },
        "malloc_growth_bytes_per_request": round(facts.malloc.slope, 1) if facts.malloc else None,
        "pymalloc": {
            "arenas_mb": round(plain.arenas_mb[-1], 1) if plain.arenas_mb else None,
            "in_use_mb": round(plain.arenas_used_mb[-1], 1) if plain.arenas_used_mb else None,
        },
        "django": {"debug": traced.django_debug, "queries_held": facts.held_queries},
        "cyclic_garbage_objects": traced.garbage,
        "growing_lines": traced.lines if verdict in ("leak", "cache", "debug") else [],
        "growing_types": traced.types if verdict in ("leak", "cache", "debug") else [],
        "chain": traced.chain if verdict in ("leak", "cache") else [],
        "bounded_container": traced.bound if verdict == "cache" else {},
        "c_functions": [],
        "limits": LIMITS._asdict(),
    }
    return Diagnosis(verdict, confidence, _sentence(verdict, facts, traced), evidence, _next(verdict, traced), reasons)


def with_functions(diagnosis: Diagnosis, functions: list[dict[str, Any]] | None) -> Diagnosis:
    """The diagnosis of native growth with what memray says; None is no memray."""
    if functions is None:
        return diagnosis
    if functions:
        first = functions[0]
        further = f"Look at {first['line']}: what {first['function']} allocates for it is not given back."
    else:
        further = (
            "memray saw no allocation that stays, so the memory does not come from a malloc that it can watch: look "
            "for mmap, and at what ctypes and other foreign calls take."
        )
    return replace(diagnosis, evidence={**diagnosis.evidence, "c_functions": functions}, next=further)


def _ok(plain: Plain) -> bool:
    return all(status[:1] == "2" for status in plain.statuses)


def _reservations(verdict: str, facts: _Facts, plain: Plain, traced: Traced, requests: int) -> list[str]:
    """What speaks against trusting the verdict, one sentence each."""
    found = []
    if not _ok(plain):
        answers = ", ".join(f"{count} x {status}" for status, count in plain.statuses.items())
        found.append(f"not every answer was a success ({answers}): this may diagnose an error page")
    if plain.statuses != traced.statuses:
        found.append("the two measuring processes got different answers")
    if plain.trim_unavailable:
        found.append(f"{plain.trim_unavailable}; so what is kept and what is in pieces cannot be told apart")
    if requests < LIMITS.requests:
        found.append(f"only {requests} requests were measured; {LIMITS.requests} or more show trends better")
    if verdict == "leak" and facts.live.slope < 4 * LIMITS.live_bytes:
        found.append("the growth is small: repeat with more --times")
    if verdict == "leak" and not traced.chain:
        found.append("nothing was found that holds the objects")
    if verdict == "cache" and traced.bound and facts.live.grows(LIMITS.live_bytes):
        found.append("it was still growing at the end; the bound is taken from its holder")
    if verdict in ("retention", "fragmentation") and max(facts.fell_mb, facts.left_mb) < 2 * LIMITS.kept_mb:
        found.append("the amount is close to the limit that counts")
    if verdict in ("retention", "fragmentation") and 0.5 < facts.fell_mb / max(0.1, facts.left_mb) < 2:
        found.append(f"some falls ({facts.fell_mb:.0f} MiB) and some does not ({facts.left_mb:.0f} MiB)")
    irregular = not facts.live.grows(LIMITS.live_bytes) and facts.live.slope >= LIMITS.live_bytes
    if irregular and verdict != "leak":
        found.append("the live heap also grows, but not steadily: repeat with more --times")
    return found


def _sentence(verdict: str, facts: _Facts, traced: Traced) -> str:
    each = f"{size(facts.live.slope)} of live Python objects with each request"
    match verdict:
        case "leak":
            place = f", allocated at {traced.lines[0]['line']}" if traced.lines else ""
            return f"A leak: the application keeps {each}{place}."
        case "cache" if traced.bound:
            held = "{name} ({type}) holds {size} of at most {bound} entries".format(**traced.bound)
            full = traced.bound["size"] >= traced.bound["bound"]
            return (
                f"A cache, which grew by {size(facts.live.grew)}: {held}. It is {'full' if full else 'not full yet'}."
            )
        case "cache":
            return f"A cache or the like: the live heap grew by {size(facts.live.grew)} and then stopped."
        case "native":
            rate = max(facts.malloc.slope - facts.live.slope if facts.malloc else 0.0, facts.mapped)
            return f"Native growth: each request takes {size(rate)} that no Python object stands for."
        case "debug":
            return (
                f"DEBUG is on: Django keeps the SQL statements of its connections, {facts.held_queries:.0f} here after "
                "a request and up to 9000."
                if traced.django_debug
                else "Django's query log grows with each request (force_debug_cursor)."
            )
        case "retention":
            return (
                f"Retention, no leak: {facts.fell_mb:.0f} MiB are free in the process but not given back to the "
                "kernel; malloc_trim(0) returns them. The live heap does not grow."
            )
        case "fragmentation":
            return (
                f"Fragmentation: {facts.left_mb:.0f} MiB stay resident that no live object explains and that "
                "malloc_trim(0) does not return: small survivors hold pages that are otherwise free."
            )
    return "Clean: the live heap does not grow, and what a request takes goes back."


def _next(verdict: str, traced: Traced) -> str:
    match verdict:
        case "leak":
            holder = f" What holds it: {chain_text(traced.chain)}." if traced.chain else ""
            return (
                f"Bound or empty what holds these objects.{holder} If it is meant as a cache, repeat with more --times "
                "until it is full."
            )
        case "cache" if traced.bound:
            return "Work out its full size times the number of workers; lower the bound if that does not fit."
        case "cache":
            return "Note the plateau for the size of a worker. If requests differ, repeat with {n} in --path."
        case "native":
            return (
                "Look at C extensions, in their newest versions, and at what is opened and not closed. With memray "
                "installed (pip install memray) the same command names the C function."
            )
        case "debug":
            return "Set DEBUG = False and diagnose again: whatever else there is shows only then."
        case "retention":
            return (
                "Nothing to fix in the application. Give memory back after large requests (lowtide.wsgi.give_back), "
                "or let reload-on-rss recycle the worker; best, do not hold everything at once: stream."
            )
        case "fragmentation":
            return (
                "Recycle the worker (reload-on-rss, max-requests); look for small objects that outlive a large one; "
                "try another allocator (jemalloc) and compare."
            )
    return "Nothing to do for this request; try the largest one, and the one that is called most."


def chain_text(chain: list[dict[str, str]]) -> str:
    """The chain in one line: `shop.signals.receivers[3].__closure__[0].cell_contents, a list`."""
    return "".join(link["label"] or f" > {link['type']}" for link in chain) + f" ({chain[-1]['type']})"


def size(amount: float) -> str:
    """Bytes for people: 312 bytes, 4.0 KiB, 2.1 MiB."""
    if abs(amount) < 1024:
        return f"{amount:.0f} bytes"
    return f"{amount / 1024:.1f} KiB" if abs(amount) < MIB else f"{amount / MIB:.1f} MiB"
