"""A bound that no application breaks: a worker whose request outgrows it ends that request with 503 and is replaced.

A request that allocates without end meets the container's limit, where the kernel kills whom it likes. Here each worker
has a limit of its own (RLIMIT_DATA, setrlimit(2): what it may have mapped to write to), so low that all workers at
theirs fit into the container. Beyond it an allocation fails; Python makes it a MemoryError, at once and in the one
process. It costs nothing: the kernel keeps the count anyway.

WORKER_CEILING of the environment is `auto` (from the container's limit; none without one), `off`, or how many MiB a
worker may grow. What counts is what is mapped, not what is touched: a stack of 8 MiB for each thread, and heap that
lies between pieces in use. Memory that a worker shares with others, files in a tmpfs and its child processes are not
in it.
"""

import resource
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lowtide import memory
from lowtide.busy import answer_busy
from lowtide.wsgi import Application, Environ

# What a worker gets on top for its last words, once it has met its ceiling.
_RELIEF_MB = 32
# A request that failed after it had mapped so much of the room failed for want of memory.
_SHARE = 0.9


def _status_mb(name: str) -> float:
    """A figure of this process from /proc/self/status, in MiB."""
    figures = memory.fields_mb("self", "status", name)
    return figures[0] if figures else 0.0


class _Process:
    """The bound of this process; `room_mb` is 0 until it has one."""

    def __init__(self) -> None:
        self.room_mb = self.size_mb = 0.0
        self.relief = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        self.met = False


_process = _Process()


def arm(room_mb: float) -> None:
    """Let this process grow by so many MiB from now on and no more."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int((_status_mb("VmData") + room_mb) * memory.MIB)
    _process.room_mb, _process.size_mb, _process.met = room_mb, _status_mb("VmPeak"), False
    _process.relief = (limit + _RELIEF_MB * memory.MIB, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def meet() -> None:
    """An allocation has failed: make room to say so. Without a ceiling it failed for another reason."""
    if _process.room_mb and not _process.met:
        _process.met = True
        resource.setrlimit(resource.RLIMIT_DATA, _process.relief)


def met() -> bool:
    """Whether this process should be replaced."""
    return _process.met


def _near() -> bool:
    return _status_mb("VmPeak") - _process.size_mb >= _SHARE * _process.room_mb


def bounded(application: Application) -> Application:
    """The application, with 503 for a request that meets the ceiling."""

    def answering(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not _process.room_mb:
            return application(environ, start_response)
        failed = False

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            nonlocal failed
            # The framework has made a page of the error.
            if status.startswith("500") and (_process.met or _near()):
                failed = True
                return lambda _: None
            return start_response(status, headers, *error)

        try:
            answer = application(environ, start)
        except MemoryError:
            meet()
            return answer_busy(environ, start_response)
        if failed:
            meet()
            if close := getattr(answer, "close", None):
                close()
            return answer_busy(environ, start_response)
        # A list is whole, and a file goes to the server as it is.
        if isinstance(answer, list) or hasattr(answer, "read"):
            return answer
        return _watched(answer, environ, start_response)

    return answering


def _watched(answer: Iterable[bytes], environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
    """The parts of an answer; until the first of them its headers have not been sent."""
    sent = False
    try:
        for part in answer:
            yield part
            sent = True
    except MemoryError:
        meet()
        if sent:
            raise
        yield from answer_busy(environ, start_response)
    finally:
        if close := getattr(answer, "close", None):
            close()
