"""A memory limit for each worker: a request that would exceed it is answered 503, and the worker is replaced.

Without it, a request that allocates without end reaches the container's limit, and the kernel kills any process there.
Each worker gets a limit of its own (RLIMIT_DATA, setrlimit(2): writable memory that it has mapped), chosen so that all
workers at their limits fit into the container. An allocation beyond it fails at once, in that process only, and Python
raises MemoryError. This costs nothing, because the kernel counts this memory anyway.

WORKER_CEILING of the environment is `auto` (derived from the container's limit, also when that is changed while the
server runs; no bound without one), `off`, or how many MiB a worker may grow. Mapped memory counts even if it was never
touched: a stack of 8 MiB for each thread, and free heap between pieces in use. Memory that a worker shares with others,
files in a tmpfs and child processes do not count.
"""

import math
import resource
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lowtide import memory
from lowtide.busy import answer_busy
from lowtide.wsgi import Application, Environ

# A worker that has met its ceiling gets this much more, to answer 503 and to end.
_RELIEF_MB = 32
# A request that failed after it had used this share of its room is taken to have failed for lack of memory.
_SHARE = 0.9


def _status_mb(name: str) -> float:
    """A figure of this process from /proc/self/status, in MiB."""
    figures = memory.fields_mb("self", "status", name)
    return figures[0] if figures else 0.0


class _Process:
    """This process's limit; `room_mb` is 0 while it has none."""

    def __init__(self) -> None:
        self.room_mb = self.size_mb = self.base_mb = 0.0
        self.relief = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.met = False


_process = _Process()


def arm(room_mb: float) -> None:
    """From now on, let this process grow by `room_mb` MiB and no more."""
    _process.base_mb, _process.size_mb = _status_mb("VmData"), _status_mb("VmPeak")
    _bound(_process.base_mb + room_mb)
    _process.room_mb = room_mb


def rearm(room_mb: float) -> None:
    """Change how far this process may grow, counted from its start; 0 for no limit.

    A process that is larger already keeps what it has and may take what an answer of 503 needs.
    """
    if not room_mb:
        _bound(math.inf)
    elif not _process.room_mb:
        arm(room_mb)
    else:
        _bound(max(_process.base_mb + room_mb, _status_mb("VmData") + _RELIEF_MB))
    _process.room_mb = room_mb


def _bound(limit_mb: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit, relief = (
        resource.RLIM_INFINITY if mb == math.inf else int(mb * memory.MIB) for mb in (limit_mb, limit_mb + _RELIEF_MB)
    )
    _process.relief, _process.met = (relief, hard), False
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def meet() -> None:
    """Call this when an allocation has failed: it raises the limit, so that there is memory to answer the request.

    Does nothing where no ceiling is set, because then the allocation failed for another reason.
    """
    if _process.room_mb and not _process.met:
        _process.met = True
        resource.setrlimit(resource.RLIMIT_DATA, _process.relief)


def met() -> bool:
    """Whether this process should be replaced."""
    return _process.met


def _near() -> bool:
    return _status_mb("VmPeak") - _process.size_mb >= _SHARE * _process.room_mb


def bounded(application: Application) -> Application:
    """Wrap the application so that a request which meets the ceiling is answered 503."""

    def answering(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _process.room_mb:
            return application(environ, start_response)
        state = _State()

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            # The framework has already turned the MemoryError into an error page.
            if status.startswith("500") and not state.sent and (_process.met or _near()):
                state.failed = True
                meet()
                return lambda _: None
            return start_response(status, headers, *error)

        try:
            answer = application(environ, start)
        except MemoryError:
            meet()
            return answer_busy(environ, start_response)
        if state.failed:
            if close := getattr(answer, "close", None):
                close()
            return answer_busy(environ, start_response)
        # A list is complete, and a file must reach the server unwrapped.
        if isinstance(answer, list) or hasattr(answer, "read"):
            return answer
        return _watched(answer, state, environ, start_response)

    return answering


class _State:
    """The state of an answer: whether the application has failed, and whether a first part has been sent."""

    failed = sent = False


def _watched(
    answer: Iterable[bytes], state: _State, environ: Environ, start_response: Callable[..., Any]
) -> Iterator[bytes]:
    """Pass on the parts of an answer. Before the first part no header has been sent, so a 503 is still possible."""
    try:
        for part in answer:
            # A generator calls start_response only when its first part is asked for.
            if state.failed:
                break
            yield part
            state.sent = True
    except MemoryError:
        meet()
        if state.sent:
            raise
        state.failed = True
    finally:
        if close := getattr(answer, "close", None):
            close()
    if state.failed:
        yield from answer_busy(environ, start_response)
