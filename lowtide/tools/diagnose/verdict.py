"""Derives the verdict from two measurements. Every rule is in `_rules`, every threshold in `trend.LIMITS`."""

from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from lowtide.memory import MIB
from lowtide.tools.diagnose.measure import Plain, Traced
from lowtide.tools.diagnose.trend import LIMITS, Trend

# Exit codes: 1 if the application's code or settings need work, 3 if more requests are needed to tell, otherwise 0.
EXIT_CODES = {"leak": 1, "native": 1, "fragmentation": 1, "debug": 1, "growing": 3}
_GROWS = ("leak", "growing", "cache", "debug")


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
        return EXIT_CODES.get(self.verdict, 0)

    def document(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "verdict": self.verdict,
            "confidence": self.confidence,
            "evidence": {"summary": self.sentence, "reservations": self.reasons, **self.evidence},
            "next": self.next,
        }


@dataclass(frozen=True)
class _Facts:
    """The figures of the rules: bytes a request, MiB, and whether C memory grows ("no", "unsure", "endless")."""

    live: Trend
    malloc: Trend | None
    native: str
    mapped: float
    fell_mb: float
    left_mb: float
    queries: Trend
    held_queries: float


def _facts(plain: Plain, traced: Traced, warm_up: int) -> _Facts:
    live = traced.heap(warm_up)
    # The live heap after the same number of requests as were sent without tracing.
    held = [
        value for number, value in zip(traced.numbers, traced.live_bytes, strict=True) if number <= plain.numbers[-1]
    ]
    in_use_mb = (median(held[-5:]) - traced.base_bytes) / MIB
    if plain.malloc_bytes and plain.arenas_used_mb:
        arenas_mb = plain.arenas_used_mb[-1] - plain.base_arenas_used_mb
        in_use_mb = max(in_use_mb, (plain.malloc_bytes[-1] - plain.base_malloc_bytes) / MIB + arenas_mb)
    before = dict(zip(plain.numbers, plain.anonymous_mb, strict=True))
    falls = [before[number] - left for number, left in zip(plain.checkpoints, plain.trimmed_mb, strict=False)]
    after = median(plain.trimmed_mb[-4:] or plain.anonymous_mb[-5:])
    return _Facts(
        live=live,
        malloc=plain.malloc(warm_up),
        native=plain.growth(warm_up, live.slope),
        mapped=plain.mapped(),
        fell_mb=median(falls) if falls else 0.0,
        left_mb=after - plain.base_mb - max(0.0, in_use_mb) - max(0.0, plain.loaded_mb),
        queries=traced.debug(warm_up),
        held_queries=median(traced.queries[warm_up:]),
    )


def _rules(facts: _Facts, traced: Traced) -> str:
    """The verdict. The first rule that fits decides: growth without end comes first, then what is only kept."""
    live = facts.live
    in_database_log = any("django/db/backends" in place for line in traced.lines[:1] for place in line["traceback"])
    if facts.queries.grows(LIMITS.queries) or (
        traced.django_debug and in_database_log and live.open(LIMITS.live_bytes)
    ):
        return "debug"
    if live.open(LIMITS.live_bytes):
        if traced.bound or traced.clock == "falls":
            return "cache"
        return "leak" if traced.costly or live.endless(LIMITS.live_bytes) else "growing"
    if facts.native != "no":
        return "native" if facts.native == "endless" else "growing"
    if traced.django_debug:
        return "debug"
    if live.bounded(LIMITS.cache_bytes):
        return "cache"
    if max(facts.fell_mb, facts.left_mb) >= LIMITS.kept_mb:
        return "retention" if facts.fell_mb >= facts.left_mb else "fragmentation"
    return "clean"


def judge(plain: Plain, traced: Traced, warm_up: int) -> Diagnosis:
    """The diagnosis. Both measurements hold `warm_up` requests and at least ten more."""
    facts = _facts(plain, traced, warm_up)
    requests = int(traced.numbers[-1]) - warm_up
    verdict = _rules(facts, traced)
    if verdict == "retention" and not plain.trimmed_mb:
        verdict = "fragmentation"
    reasons = _reservations(verdict, facts, plain, traced, requests)
    confidence = ("high", "medium", "low")[min(2, len(reasons))]
    if not _ok(plain) or not plain.trimmed_mb:
        confidence = "low"
    evidence = {
        "requests": requests,
        "warm_up": warm_up,
        "seconds": round(traced.seconds, 1),
        "untraced": {"requests": int(plain.numbers[-1]) - warm_up, "seconds": round(plain.seconds, 1)},
        # The number of requests of the process that sent more.
        "statuses": max(plain.statuses, traced.statuses, key=lambda statuses: sum(statuses.values())),
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
            # A figure below zero is noise, because the two processes do not hold exactly the same memory.
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
        "growing_lines": traced.lines if verdict in _GROWS else [],
        "growing_types": traced.types if verdict in _GROWS else [],
        "chain": traced.chain if verdict in _GROWS else [],
        "bounded_container": traced.bound if verdict == "cache" else {},
        "clock_put_forward": traced.clock,
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
    """Reasons not to trust the verdict, one sentence each."""
    found = []
    if not _ok(plain):
        answers = ", ".join(f"{count} x {status}" for status, count in plain.statuses.items())
        found.append(f"not every answer was a success ({answers}): this may diagnose an error page")
    if plain.statuses.keys() != traced.statuses.keys():
        found.append("the two measuring processes got different answers")
    if plain.trim_unavailable:
        found.append(f"{plain.trim_unavailable}; so what is kept and what is in pieces cannot be told apart")
    if requests < LIMITS.requests:
        found.append(f"only {requests} requests were measured; {LIMITS.requests} or more show trends better")
    if verdict == "leak" and facts.live.slope < 2 * LIMITS.live_bytes:
        found.append("the growth is small")
    if verdict == "leak" and not traced.chain:
        found.append("nothing was found that holds the objects")
    if verdict == "leak" and not traced.clock:
        found.append("the clock could not be put forward: what is emptied once in a while would look the same")
    if verdict == "leak" and traced.threads:
        found.append(f"other threads run ({', '.join(traced.threads[:3])}): one may empty this later")
    if verdict == "cache" and traced.bound and facts.live.open(LIMITS.live_bytes):
        found.append("it was still growing at the end; the bound is taken from its holder")
    if verdict in ("retention", "fragmentation") and max(facts.fell_mb, facts.left_mb) < 2 * LIMITS.kept_mb:
        found.append("the amount is close to the limit that counts")
    if verdict in ("retention", "fragmentation") and 0.5 < facts.fell_mb / max(0.1, facts.left_mb) < 2:
        found.append(f"some falls ({facts.fell_mb:.0f} MiB) and some does not ({facts.left_mb:.0f} MiB)")
    return found


def _sentence(verdict: str, facts: _Facts, traced: Traced) -> str:
    each = f"{size(facts.live.slope)} of live Python objects with each request"
    match verdict:
        case "leak":
            place = f", allocated at {traced.lines[0]['line']}" if traced.lines else ""
            return f"A leak: the application keeps {each}{place}."
        case "growing":
            if not facts.live.open(LIMITS.live_bytes):
                each = f"{size(_rate(facts))} with each request that no Python object stands for"
            how = ", ever more slowly" if facts.live.slows() else ""
            return f"It still grows{how}, by {each}. Whether that comes to an end is not known yet."
        case "cache" if traced.clock == "falls":
            return f"Kept for a time: {each} stay, and most of it was let go once the clock was an hour on."
        case "cache" if traced.bound:
            held = "{name} ({type}) holds {size} of at most {bound} entries".format(**traced.bound)
            full = traced.bound["size"] >= traced.bound["bound"]
            return (
                f"A cache, which grew by {size(facts.live.grew)}: {held}. It is {'full' if full else 'not full yet'}."
            )
        case "cache":
            return f"A cache or the like: the live heap grew by {size(facts.live.highest)} and then stopped or fell."
        case "native":
            return f"Native growth: each request takes {size(_rate(facts))} that no Python object stands for."
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


def _rate(facts: _Facts) -> float:
    """Growth per request, in bytes, that no Python object explains."""
    return max(facts.malloc.slope - facts.live.slope if facts.malloc else 0.0, facts.mapped)


def _next(verdict: str, traced: Traced) -> str:
    match verdict:
        case "leak":
            holder = f" What holds it: {chain_text(traced.chain)}." if traced.chain else ""
            return (
                f"Bound or empty what holds these objects.{holder} A cache that is not full after so "
                "many requests is none to a worker."
            )
        case "growing":
            holder = f" What holds it: {chain_text(traced.chain)}." if traced.chain else ""
            return (
                f"Let it look longer (--at-most 20000 --patience 1800).{holder} What is pruned once in some hundred "
                "requests looks like this before, and so does a leak."
            )
        case "cache" if traced.clock == "falls":
            return "Work out the requests of that time times what each leaves; lower the time if that does not fit."
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
