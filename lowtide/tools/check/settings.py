"""Questions that the rules ask a reading: which value is in force, from which line."""

from lowtide.tools.check.options import BOOLEANS, NUMBERS, OptionTable
from lowtide.tools.check.reader import Option, Reading
from lowtide.tools.check.values import has_placeholder, is_false, read_number

# Set in uWSGI's own start (core/init.c:95-135); every other number starts at 0.
DEFAULTS = {
    "processes": 1,
    "threads": 1,
    "buffer-size": 4096,
    "worker-reload-mercy": 60,
    "min-worker-lifetime": 10,
}


class Settings:
    """The values in force: of several lines for one variable, aliases included, the last one counts."""

    def __init__(self, reading: Reading, table: OptionTable, processes: int | None = None) -> None:
        """`processes` is a number of workers given elsewhere, which counts instead of the file's."""
        self._reading = reading
        self._table = table
        self._processes = processes

    def all(self, name: str) -> list[Option]:
        """Every option that sets this variable, in the order in which uWSGI applies them."""
        names = set(self._table.aliases(name))
        return [option for option in self._reading.options if option.name in names]

    def option(self, name: str) -> Option | None:
        """The option in force, None when nothing sets it."""
        found = self.all(name)
        return found[-1] if found else None

    def number(self, name: str) -> int | None:
        """The number in force in the option's own unit, its default when unset; None when a variable in it has no
        value here or uWSGI refuses it, so that no rule builds on a number nobody knows."""
        if name == "processes" and self._processes is not None:
            return self._processes
        option = self.option(name)
        if option is None:
            return DEFAULTS.get(name, 0)
        known = self._table.get(option.name)
        if known is None or known.kind not in NUMBERS or "$" in option.value or has_placeholder(option.value):
            return None
        return read_number(known.kind, option.value)

    def positive(self, name: str) -> int:
        """The number in force, 0 when it is off or not known."""
        return self.number(name) or 0

    def is_on(self, name: str) -> bool:
        option = self.option(name)
        known = self._table.get(name)
        if option is None or known is None or known.kind not in BOOLEANS:
            return False
        return not is_false(option.value)

    def has_master(self) -> bool:
        """Asked for by `master`, or switched on by an option that needs it (core/config.c:498)."""
        if self.option("master"):
            return self.is_on("master")
        for option in self._reading.options:
            known = self._table.get(option.name)
            if known and known.wants_master:
                return True
        return False
