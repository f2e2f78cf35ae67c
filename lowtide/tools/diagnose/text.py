"""The diagnosis for people, in words."""

from pathlib import Path

from lowtide.tools.diagnose.verdict import Diagnosis, chain_text, size

_WIDTH = 18


def render(diagnosis: Diagnosis, request: str, picture: str) -> str:
    """The whole answer; `picture` is the file that was drawn, or empty."""
    evidence = diagnosis.evidence
    resident, live, pymalloc = evidence["resident"], evidence["live_heap"], evidence["pymalloc"]
    answers = ", ".join(f"{status}: {count}" for status, count in evidence["statuses"].items())
    growth = f"{live['growth_bytes_per_request']:+.0f} bytes a request in the second half"
    malloc = evidence["malloc_growth_bytes_per_request"]
    rows = [
        (
            "request",
            f"{request}, {evidence['warm_up']} to warm up and {evidence['requests']} measured "
            f"in {evidence['seconds']:.0f} s",
        ),
        ("answers", answers),
        ("live Python heap", f"{growth}; {live['mb']:.1f} MiB since before the first"),
        ("held by malloc", "unknown on this libc" if malloc is None else f"{malloc:+.0f} bytes a request"),
        (
            "resident memory",
            f"{resident['before_mb']:.0f} MiB before, {resident['end_mb']:.0f} at the end, "
            f"{resident['peak_mb']:.0f} at its peak (RSS)",
        ),
        ("given back", resident["trim_unavailable"] or f"{resident['given_back_mb']:.0f} MiB by malloc_trim(0)"),
        ("then unexplained", f"{resident['unexplained_mb']:.0f} MiB that no live object stands for"),
    ]
    if pymalloc["arenas_mb"] is not None:
        rows.append(("pymalloc arenas", f"{pymalloc['arenas_mb']:.0f} MiB, {pymalloc['in_use_mb']:.0f} of them in use"))
    if evidence["django"]["debug"] or evidence["django"]["queries_held"]:
        django = evidence["django"]
        rows.append(("Django", f"DEBUG = {django['debug']}, {django['queries_held']:.0f} statements kept"))
    lines = [f"Verdict: {diagnosis.verdict} (confidence: {diagnosis.confidence})", "", diagnosis.sentence, ""]
    lines += [f"  {name:<{_WIDTH}}{value}" for name, value in rows]
    for line in evidence["growing_lines"][:3]:
        amount = f"{size(line['bytes_per_request'])}, {line['blocks_per_request']:g} blocks a request"
        lines.append(f"  {'grows':<{_WIDTH}}{line['line']}: {amount}")
    for item in evidence["c_functions"][:3]:
        amount = f"{size(item['bytes_per_request'])}, {item['allocations_per_request']:g} allocations a request"
        lines.append(f"  {'C function':<{_WIDTH}}{item['function']}, from {item['line']}: {amount}")
    if evidence["growing_types"]:
        types = ", ".join(f"{item['type']} +{item['per_request']:g}" for item in evidence["growing_types"][:4])
        lines.append(f"  {'growing types':<{_WIDTH}}{types} a request")
    if evidence["chain"]:
        lines.append(f"  {'held by':<{_WIDTH}}{chain_text(evidence['chain'])}")
    lines += ["", *(f"But: {reason}." for reason in diagnosis.reasons), f"Next: {diagnosis.next}"]
    if picture:
        lines.append(f"Picture: {picture}")
    # Paths in the current folder are shown relative to it.
    return ("\n".join(lines) + "\n").replace(f"{Path.cwd()}/", "")
