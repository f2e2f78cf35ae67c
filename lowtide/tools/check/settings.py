"""Answers the rules' questions about a configuration: which value takes effect, and from which line."""

from dataclasses import dataclass

from lowtide.tools.check.options import BOOLEANS, NUMBERS, OptionTable
from lowtide.tools.check.reader import Option, Reading
from lowtide.tools.check.values import has_placeholder, is_false, read_number

# The servers' own defaults (uWSGI: core/init.c:95-135); every other number is 0 by default.
_ALL = {"processes": 1, "threads": 1}
_UWSGI = {"async": 1, "buffer-size": 4096, "worker-reload-mercy": 60, "min-worker-lifetime": 10, "http-timeout": 60}
DEFAULTS = {"uwsgi": _ALL | _UWSGI, "gunicorn": _ALL | {"worker-reload-mercy": 30, "harakiri": 30}, "granian": _ALL}


@dataclass
class Settings:
    """The values that take effect: the last of several lines for one variable, aliases included. `processes` is a
    number of workers from elsewhere, which replaces the file's."""

    reading: Reading
    table: OptionTable
    processes: int | None = None

    def all(self, name: str) -> list[Option]:
        """Every option that sets this variable, in the order in which uWSGI applies them."""
        names = set(self.table.aliases(name))
        return [option for option in self.reading.options if option.name in names]

    def option(self, name: str) -> Option | None:
        """The option that takes effect; None if nothing sets it."""
        return next(reversed(self.all(name)), None)

    def any(self, *names: str) -> Option | None:
        """The first of these that something sets."""
        return next((option for name in names if (option := self.option(name))), None)

    def number(self, name: str) -> int | None:
        """The number that takes effect, in the option's own unit; its default if unset. It is None if it cannot be
        known here: a variable in it has no value, it depends on the machine (%k), or uWSGI refuses it."""
        if name == "processes" and self.processes is not None:
            return self.processes
        if (option := self.option(name)) is None:
            return DEFAULTS[self.reading.server].get(name, 0)
        known = self.table.get(option.name)
        if known is None or known.kind not in NUMBERS or "$" in option.value or has_placeholder(option.value):
            return None
        return None if option.unknown or "%k" in option.written else read_number(known.kind, option.value)

    # For the texts of messages: {c[processes]}.
    __getitem__ = number

    def positive(self, name: str) -> int:
        """The number that takes effect; 0 if the option is off or the number is not known."""
        return self.number(name) or 0

    @property
    def cores(self) -> int:
        """How many requests one worker serves at a time, with threads or greenlets (core/init.c:423)."""
        return max(self.positive("threads"), self.positive("async"), self.positive("gevent"))

    def is_on(self, name: str) -> bool:
        option = self.option(name)
        known = self.table.get(name)
        return bool(option and known and known.kind in BOOLEANS and not is_false(option.value))

    def has_master(self) -> bool:
        """Whether there is a master: `master` asks for it, or an option that needs it switches it on
        (core/config.c:498)."""
        if self.option("master"):
            return self.is_on("master")
        known = (self.table.get(option.name) for option in self.reading.options)
        return any(option is not None and option.wants_master for option in known)
