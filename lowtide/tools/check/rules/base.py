"""What a rule is, and the data on which rules work.

A rule is a small object in one of this package's modules, which are searched for rules: its code, its page, the servers
to which it applies, the explanation that `--codes` and SARIF show, and a function `check` that yields findings. `rule`
makes one of a function. Rules that differ only in their data are rows of a table (plain.py, structure.py, refused.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from lowtide.tools.check.compare import Comparison
from lowtide.tools.check.container import Container
from lowtide.tools.check.files import shown
from lowtide.tools.check.findings import Finding, Fixes, Level
from lowtide.tools.check.options import Known
from lowtide.tools.check.reader import Option
from lowtide.tools.check.settings import Settings
from lowtide.tools.check.syntax import RawLine

DOCS = "https://uwsgi-docs.readthedocs.io/en/latest/"
ERROR, WARNING, NOTE = Level.ERROR, Level.WARNING, Level.NOTE
# Weights: in the text, findings that stop the server come first, and harmless ones last.
ENDS, MEMORY, REQUESTS, HARMLESS = 3, 2, 1, -1
ALL = "uwsgi gunicorn granian"
# A file with more findings of one rule is not a configuration.
MAX_FINDINGS = 500
Where = Option | RawLine | None
Findings = Iterator[Finding]
Check = Callable[..., Findings]


@dataclass(kw_only=True)
class Context(Settings):
    """One configuration and its container. `uwsgi` and `python` are the releases in use, as version tuples.
    `environment_told`: the user gave the server's environment, so a variable that is not in it is a mistake."""

    main: Path
    cwd: Path
    container: Container
    uwsgi: tuple[int, ...] = (2, 0, 31)
    python: tuple[int, ...] = (3, 13)
    somaxconn: int | None = None
    comparison: Comparison = field(default_factory=Comparison)
    environment_told: bool = True

    @cached_property
    def written(self) -> list[RawLine]:
        """The options that the environment sets, then every line of the files."""
        options = (option for option in self.reading.options if option.file is None and self.table.get(option.name))
        environment = (RawLine(None, 0, option.name, option.written, active=True) for option in options)
        return [*environment, *self.reading.lines]

    @property
    def in_container(self) -> bool:
        known = self.container.stop_grace is not None or self.container.source == "image"
        return known and self.container.kind == "container"

    @property
    def whole(self) -> bool:
        """Whether nothing comes from where this check does not read, so that what is not set here is not set. A flag
        whose name a variable completes hides one option only."""
        return not any(p.kind == "include-not-read" and p.detail[:1] != "-" for p in self.reading.problems)

    def shown(self, path: Path) -> str:
        return shown(path, self.cwd)

    def spell(self, name: str) -> str:
        """The option's name in the server that is checked."""
        return self.reading.spelling.get(name, name)

    def values_of(self, line: RawLine) -> Iterable[str]:
        """The expanded values of a line, several in a loop; its value as written if uWSGI skips the line, as in a block
        whose condition is false."""
        return self._values.get((line.file, line.number, line.key), [line.value])

    @cached_property
    def _values(self) -> dict[tuple[Path | None, int, str], dict[str, None]]:
        places: dict[tuple[Path | None, int, str], dict[str, None]] = {}
        for option in self.reading.options:
            places.setdefault((option.file, option.line, option.name), {})[option.value] = None
        return places

    def known_lines(self) -> Iterator[tuple[RawLine, Known]]:
        for line in self.written:
            if known := self.table.get(line.key):
                yield line, known

    @cached_property
    def placeholders(self) -> set[str]:
        """Names that a line reads as %(name) or tests with if-opt, so that setting them is not a mistake."""
        used: set[str] = set()
        for line in self.reading.lines:
            for expression in re.findall(r"%\(([^()]+)\)", line.value):
                used.update(expression.split(" "))
            if line.key in ("if-opt", "if-not-opt"):
                used.add(line.value.partition("=")[0])
        return used


@dataclass(frozen=True)
class Rule:
    """A rule. `code` is kebab-case and never changes. `weight` is its place in the text. `page` is below DOCS, or an
    address; by default it is that of the first of its `options`. `servers` are those to which it applies."""

    code: str
    explanation: str
    check: Check
    options: str = ""
    weight: int = 0
    page: str = ""
    servers: str = "uwsgi"

    @property
    def docs(self) -> str:
        page = self.page or f"Options.html#{self.options.partition(' ')[0]}"
        return page if page.startswith("https:") else DOCS + page

    def findings(self, c: Context) -> Findings:
        if c.reading.server in self.servers.split():
            for finding in islice(self.check(c), MAX_FINDINGS):
                yield replace(finding, code=self.code, docs=self.docs, weight=finding.weight or self.weight)


def rule(
    code: str, page: str = "", weight: int = 0, servers: str = "uwsgi", options: str = ""
) -> Callable[[Check], Rule]:
    """Make a rule of a function that yields findings; its docstring is the explanation. With `options` it is called for
    each of them that takes effect."""

    def make(check: Check) -> Rule:
        def check_options(c: Context) -> Findings:
            for name in options.split():
                if option := c.option(name):
                    yield from check(c, option)

        explanation = " ".join((check.__doc__ or "").split())
        return Rule(code, explanation, check_options if options else check, options, weight, page, servers)

    return make


def say(
    c: Context,
    where: Where,
    level: Level,
    message: str,
    instead: str,
    effective: str | None = None,
    fixes: Fixes = (),
    weight: int = 0,
) -> Finding:
    """Make a finding about an option, a line or a problem's line; None stands for the whole file."""
    if where is None:
        return Finding(level, c.shown(c.main), 1, None, None, effective, message, instead, fixes, weight=weight)
    if isinstance(where, Option) and effective is None and where.value != where.written:
        effective = where.value
    name, line = (where.key, where.number) if isinstance(where, RawLine) else (c.spell(where.name), where.line)
    file = c.shown(where.file) if where.file else "environment"
    return Finding(level, file, line, name or None, where.written, effective, message, instead, fixes, weight=weight)
