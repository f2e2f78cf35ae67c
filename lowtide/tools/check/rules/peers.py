"""Rules about gunicorn and granian alone; what is the same fact as in uWSGI is a rule of the other modules."""

from collections.abc import Iterator

from lowtide.tools.check.findings import Finding
from lowtide.tools.check.reader import Option
from lowtide.tools.check.rules.base import MEMORY, NOTE, WARNING, Context, Rule, say

_GUNICORN = "https://docs.gunicorn.org/en/stable/settings.html"
_GRANIAN = "https://github.com/emmett-framework/granian"


class PeerRule(Rule):
    """A rule whose page is not uWSGI's."""

    @property
    def docs(self) -> str:
        return self.page


class WorkerTmpDir(PeerRule):
    """gunicorn's workers touch a file in worker_tmp_dir, /tmp unless set, to say that they live. On a container's disk
    that write may block for longer than `timeout`, and the worker is killed for nothing."""

    code = "worker-tmp-dir"
    page = f"{_GUNICORN}#worker-tmp-dir"
    servers = ("gunicorn",)

    def check(self, c: Context) -> Iterator[Finding]:
        if c.in_container and c.option("worker-tmp-dir") is None:
            message = "The heartbeat file is on the container's disk; a write that blocks looks like a dead worker."
            yield say(c, None, NOTE, message, 'worker_tmp_dir = "/dev/shm"')


class NoPreload(PeerRule):
    """Without preload_app every worker imports the application itself and shares none of its pages with the others."""

    code = "no-preload"
    page = f"{_GUNICORN}#preload-app"
    servers = ("gunicorn",)

    def check(self, c: Context) -> Iterator[Finding]:
        if c.positive("processes") > 1 and c.option("preload") is None and c.option("reload") is None:
            message = f"Each of {c.positive('processes')} workers imports the application anew and shares nothing."
            yield say(c, None, NOTE, message, "preload_app = True (--preload), with connections opened after the fork")


class TimeoutOff(PeerRule):
    """With timeout = 0 gunicorn never ends a worker that hangs."""

    code = "timeout-off"
    page = f"{_GUNICORN}#timeout"
    servers = ("gunicorn",)
    options = ("harakiri",)

    def at(self, c: Context, option: Option) -> Iterator[Finding]:
        if c.number("harakiri") == 0:
            yield say(c, option, NOTE, "A worker that hangs is never replaced.", "timeout = 30, or more")


class WorkersNotRespawned(PeerRule):
    """granian ends with the first worker that dies, by the kernel's hand for instance, unless respawn-failed-workers is
    on."""

    code = "workers-not-respawned"
    page = _GRANIAN
    weight = MEMORY
    servers = ("granian",)

    def check(self, c: Context) -> Iterator[Finding]:
        if c.option("respawn-failed-workers") is None:
            message = "One worker that the kernel kills is the end of the server and of every request in it."
            yield say(c, None, NOTE, message, "--respawn-failed-workers")


class RssSampled(PeerRule):
    """granian looks at its workers' memory every rss-sample-interval, 30 seconds unless set: a burst of large requests
    inflates all of them in less. A worker that does not stop is killed only where workers-kill-timeout says so."""

    code = "rss-sampled"
    page = _GRANIAN
    servers = ("granian",)
    options = ("reload-on-rss",)

    def at(self, c: Context, option: Option) -> Iterator[Finding]:
        if c.option("rss-sample-interval") is None:
            message = "workers-max-rss is looked at every 30 seconds, the default."
            yield say(c, option, NOTE, message, "--rss-sample-interval 1")
        if c.option("workers-kill-timeout") is None:
            message = "The old worker beside its successor is waited for without end."
            yield say(c, option, WARNING if c.container.memory else NOTE, message, "--workers-kill-timeout 30")
