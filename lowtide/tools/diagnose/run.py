"""Starts the measuring in processes of its own and collects what they wrote."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lowtide.tools.diagnose.measure import Native, Plain, Traced
from lowtide.tools.diagnose.rounds import CannotRun, Job
from lowtide.tools.diagnose.trend import LIMITS
from lowtide.tools.diagnose.verdict import Diagnosis, judge, with_functions

LIBRARIES = ("matplotlib", "objgraph")


def check_libraries() -> None:
    """Raise CannotRun with the command that installs what is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRun(f"{' and '.join(missing)} missing: python3 -m pip install {' '.join(missing)}")


def diagnose(job: Job, timeout_s: float, folder: str = ".") -> tuple[Diagnosis, Plain, Traced]:
    """Measure, judge, and name the C functions of native growth. Raises CannotRun as `measure` does."""
    plain, traced = measure(job, timeout_s, folder)
    diagnosis = judge(plain, traced, job.warm_up)
    if diagnosis.verdict == "native":
        diagnosis = with_functions(diagnosis, native_functions(job, timeout_s, folder))
    return diagnosis, plain, traced


def measure(job: Job, timeout_s: float, folder: str = ".") -> tuple[Plain, Traced]:
    """Run the requests of `job` in each of two processes, one after the other, started in `folder`.

    Raises:
        CannotRun: the application cannot be loaded, fails at once, or takes longer than `timeout_s` in one process.
    """
    traced = Traced(**_child("traced", job, timeout_s, folder))
    heap = traced.heap(job.warm_up)
    # If Python objects grow, the verdict does not depend on other memory, so the first round is enough.
    at_most = 0 if heap.open(LIMITS.live_bytes) else job.at_most
    plain = Plain(**_child("plain", replace(job, at_most=at_most, explained=heap.slope), timeout_s, folder))
    return plain, traced


def native_functions(job: Job, timeout_s: float, folder: str = ".") -> list[dict[str, Any]] | None:
    """Run the same requests under memray in one more process; None if it is not installed or fails."""
    if importlib.util.find_spec("memray") is None:
        return None
    try:
        return Native(**_child("native", job, timeout_s, folder)).functions
    except CannotRun:
        return None


def _child(kind: str, job: Job, timeout_s: float, folder: str) -> dict[str, Any]:
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(folder).resolve()), *paths])}
    # With these variables the memory of a tracer or of a debugging allocator would be measured too.
    for name in ("PYTHONTRACEMALLOC", "PYTHONMALLOCSTATS"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as results:
        result = Path(results) / "result"
        return _answer(kind, replace(job, result=str(result)), timeout_s, folder, environment)


def _answer(kind: str, job: Job, timeout_s: float, folder: str, environment: dict[str, str]) -> dict[str, Any]:
    result = Path(job.result)
    try:
        process = subprocess.run(
            [sys.executable, "-m", "lowtide.tools.diagnose.measure", kind],
            input=json.dumps(asdict(job)).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            timeout=timeout_s,
            pass_fds=[job.progress] if job.progress else [],
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(
            f"the requests took longer than {timeout_s:.0f} s: write fewer --times or a higher --timeout"
        ) from None
    if process.returncode or not result.exists():
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        ending = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        raise CannotRun(f"the measuring process ended with {ending}: {lines[-1] if lines else 'it said nothing'}")
    answer: dict[str, Any] = json.loads(result.read_text())
    if "cannot_run" in answer:
        raise CannotRun(answer["cannot_run"])
    return answer
