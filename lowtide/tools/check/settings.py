"""Questions that the rules ask a reading: which value is in force, from which line."""

from dataclasses import dataclass

from lowtide.tools.check.options import BOOLEANS, NUMBERS, OptionTable
from lowtide.tools.check.reader import Option, Reading
from lowtide.tools.check.values import has_placeholder, is_false, read_number

# Set in the server's own start (uWSGI: core/init.c:95-135); every other number starts at 0.
DEFAULTS = {
    "uwsgi": {
        "processes": 1,
        "threads": 1,
        "async": 1,
        "buffer-size": 4096,
        "worker-reload-mercy": 60,
        "min-worker-lifetime": 10,
        "http-timeout": 60,
    },
    "gunicorn": {"processes": 1, "threads": 1, "worker-reload-mercy": 30, "harakiri": 30},
    "granian": {"processes": 1, "threads": 1},
}


@dataclass
class Settings:
    """The values in force: of several lines for one variable, aliases included, the last one counts. `processes` is a
    number of workers given elsewhere, which counts instead of the file's."""

    reading: Reading
    table: OptionTable
    processes: int | None = None

    def all(self, name: str) -> list[Option]:
        """Every option that sets this variable, in the order in which uWSGI applies them."""
        names = set(self.table.aliases(name))
        return [option for option in self.reading.options if option.name in names]

    def option(self, name: str) -> Option | None:
        """The option in force, None when nothing sets it."""
        options = self.all(name)
        return options[-1] if options else None

    def any(self, *names: str) -> Option | None:
        """The first of these that something sets."""
        return next((option for name in names if (option := self.option(name))), None)

    def number(self, name: str) -> int | None:
        """The number in force in the option's own unit, its default when unset; None when a variable in it has no
        value here, when the machine that runs uWSGI decides (%k) or uWSGI refuses it, so that no rule builds on a
        number nobody knows."""
        if name == "processes" and self.processes is not None:
            return self.processes
        option = self.option(name)
        if option is None:
            return DEFAULTS[self.reading.server].get(name, 0)
        known = self.table.get(option.name)
        if known is None or known.kind not in NUMBERS or "$" in option.value or has_placeholder(option.value):
            return None
        return None if option.unknown or "%k" in option.written else read_number(known.kind, option.value)

    def positive(self, name: str) -> int:
        """The number in force, 0 when it is off or not known."""
        return self.number(name) or 0

    @property
    def cores(self) -> int:
        """Requests that one worker has at a time: threads, or greenlets (core/init.c:423)."""
        return max(self.positive("threads"), self.positive("async"), self.positive("gevent"))

    def is_on(self, name: str) -> bool:
        option = self.option(name)
        known = self.table.get(name)
        if option is None or known is None or known.kind not in BOOLEANS:
            return False
        return not is_false(option.value)

    def has_master(self) -> bool:
        """Asked for by `master`, or switched on by an option that needs it (core/config.c:498)."""
        if self.option("master"):
            return self.is_on("master")
        known = (self.table.get(option.name) for option in self.reading.options)
        return any(option is not None and option.wants_master for option in known)
