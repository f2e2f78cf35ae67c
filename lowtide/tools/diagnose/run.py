"""Starts the measuring in processes of its own and collects what they wrote."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lowtide.tools.diagnose.measure import CannotRun, Job, Native, Plain, Traced
from lowtide.tools.diagnose.request import Request

LIBRARIES = ("matplotlib", "objgraph")


def check_libraries() -> None:
    """Raise CannotRun with the command that installs what is missing."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotRun(f"{' and '.join(missing)} missing: python3 -m pip install {' '.join(missing)}")


def measure(
    app: str, request: Request, times: int, warm_up: int, timeout_s: float, folder: str = "."
) -> tuple[Plain, Traced]:
    """Run `warm_up` and `times` requests in each of two processes, one after the other, started in `folder`.

    Raises:
        CannotRun: the application cannot be loaded, fails at once, or takes longer than `timeout_s` in one process.
    """
    with tempfile.TemporaryDirectory() as results:
        job = Job(app, request, times, warm_up, f"{results}/result")
        plain = Plain(**_child("plain", job, timeout_s, folder))
        traced = Traced(**_child("traced", job, timeout_s, folder))
    return plain, traced


def native_functions(
    app: str, request: Request, times: int, warm_up: int, timeout_s: float, folder: str = "."
) -> list[dict[str, Any]] | None:
    """What memray says of the same requests in one more process; None where it is not installed or gives up."""
    if importlib.util.find_spec("memray") is None:
        return None
    with tempfile.TemporaryDirectory() as results:
        try:
            return Native(
                **_child("native", Job(app, request, times, warm_up, f"{results}/result"), timeout_s, folder)
            ).functions
        except CannotRun:
            return None


def _child(kind: str, job: Job, timeout_s: float, folder: str) -> dict[str, Any]:
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(folder).resolve()), *paths])}
    # A debugging allocator or a tracer switched on from outside would be measured too.
    for name in ("PYTHONTRACEMALLOC", "PYTHONMALLOCSTATS"):
        environment.pop(name, None)
    result = Path(job.result)
    result.unlink(missing_ok=True)
    try:
        process = subprocess.run(
            [sys.executable, "-m", "lowtide.tools.diagnose.measure", kind],
            input=json.dumps(asdict(job)).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        requests = job.times + job.warm_up
        raise CannotRun(
            f"{requests} requests took longer than {timeout_s:.0f} s: write fewer --times or a higher --timeout"
        ) from None
    if process.returncode or not result.exists():
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        ending = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        raise CannotRun(f"the measuring process ended with {ending}: {lines[-1] if lines else 'it said nothing'}")
    answer: dict[str, Any] = json.loads(result.read_text())
    if "cannot_run" in answer:
        raise CannotRun(answer["cannot_run"])
    return answer
