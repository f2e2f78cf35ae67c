"""Watches a running process from outside, through /proc only, so that nothing in it stops or changes.

From outside one cannot see whether its memory is in use or only kept. Calling malloc_trim(0) in it with gdb would show
that, but is not done: if gdb does not know all registers of the processor (seen with gdb 13: "Couldn't write extended
state status"), the attempt breaks the system call that the worker was in.
"""

import json
import sys
import time
from pathlib import Path

from lowtide import memory
from lowtide.tools.diagnose.rounds import CannotRun
from lowtide.tools.diagnose.trend import theil_sen, trend
from lowtide.tools.diagnose.verdict import EXIT_CODES

# MiB. A process that grows by less in a minute counts as not growing.
FLAT_MB_PER_MINUTE = 1.0
SAMPLES = 30
GROWS = (
    "From outside nobody can say whether Python objects, C memory or free heap grow: run `lowtide diagnose --app` on "
    "the requests that this worker serves. The log of recycle reasons (lowtide.uwsgi) shows which workers end for rss."
)
FLAT = (
    "If it holds more than a fresh worker, run `lowtide diagnose --app` on its largest request: what a process holds "
    "and does not need cannot be seen from outside. Or look longer, while it serves what you suspect."
)


def rollup(pid: int) -> dict[str, float]:
    """Rss, Pss, Private_Dirty, Anonymous and Swap of a process, in MiB (proc(5), smaps_rollup).

    Raises:
        CannotRun: there is no such process, or it belongs to another user.
    """
    names = ("Rss", "Pss", "Private_Dirty", "Anonymous", "Swap")
    try:
        figures = memory.fields_mb(pid, "smaps_rollup", *names)
    except PermissionError:
        raise CannotRun(f"--pid {pid}: not yours to read; run this as the process's user or as root") from None
    if figures is None and Path(f"/proc/{pid}").exists():
        raise CannotRun(f"--pid {pid}: it holds no memory (a zombie or a kernel thread)")
    if figures is None:
        raise CannotRun(f"--pid {pid}: no such process, or it has ended")
    return dict(zip(names, figures, strict=True))


def run(pid: int, seconds: int, output: str) -> int:
    """Look at the process, print what was seen, and return the exit code as `lowtide diagnose` does.

    Raises:
        CannotRun: it cannot be read, or ends meanwhile.
    """
    samples = [rollup(pid)]
    for _ in range(SAMPLES - 1):
        time.sleep(seconds / (SAMPLES - 1))
        samples.append(rollup(pid))
    anonymous = [sample["Anonymous"] for sample in samples]
    per_minute = theil_sen(list(enumerate(anonymous))) * (SAMPLES - 1) * 60 / seconds
    grows = trend(range(SAMPLES), anonymous).grows(FLAT_MB_PER_MINUTE * seconds / 60 / (SAMPLES - 1))
    held = f"{anonymous[-1]:.0f} MiB of anonymous memory"
    summary = (
        f"It grows by {per_minute:.1f} MiB a minute, to {held} after {seconds} s."
        if grows
        else f"It did not grow steadily in {seconds} s; it holds {held}."
    )
    document = {
        "schema": 1,
        "verdict": "growing" if grows else "clean",
        "confidence": "low",
        "evidence": {
            "summary": summary,
            "pid": pid,
            "seconds": seconds,
            "growth_mb_per_minute": round(per_minute, 2),
            **{f"{name.lower()}_mb": round(value, 1) for name, value in samples[-1].items()},
        },
        "next": GROWS if grows else FLAT,
    }
    if output == "json":
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        last = "".join(f"  {name:<14}{value:.1f} MiB\n" for name, value in samples[-1].items())
        verdict = f"{document['verdict']} (confidence: low, seen from outside)"
        sys.stdout.write(f"Verdict: {verdict}\n\n{summary}\n\n{last}\nNext: {document['next']}\n")
    return EXIT_CODES["growing"] if grows else 0
