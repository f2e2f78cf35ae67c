"""What every rule is given, and the list that rules add themselves to.

A rule is a function with `@rule(code, docs)` in one of this package's modules. It takes a Context and yields findings
made with `context.finding`. Its docstring is the explanation that `--codes` and SARIF show.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lowtide.tools.check.compare import Comparison
from lowtide.tools.check.container import Container
from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.options import Known, OptionTable, version_key
from lowtide.tools.check.reader import Option, Problem, Reading
from lowtide.tools.check.settings import Settings
from lowtide.tools.check.syntax import RawLine

DOCS = "https://uwsgi-docs.readthedocs.io/en/latest/"
Where = Option | RawLine | Problem | None

# Options whose value is a command, a template or a text for people: `;`, `#`, quotes and %(...) belong to it.
_FREE_TEXT = re.compile(
    r"""(exec|hook|call|cron|unique-cron|attach|smart-attach|legion|alarm|route|final-route|error-route|response-route|
    log-format|logformat|logger|log-encoder|log-req-encoder|req-logger|print|iprint|env$|declare-option|set$|set-p|eval|
    add-header|cache2|subscribe|metric|touch-exec|vassals|emperor-wrapper|static-expires|log-route|log-filter|
    log-drain|mount|umount|file-write|worker-exec|pyargv|stats-push|threaded-logger)""",
    re.VERBOSE,
)


def is_free_text(name: str) -> bool:
    return bool(_FREE_TEXT.match(name))


@dataclass
class Context:
    """One configuration and its surroundings. `uwsgi` and `python` are the releases in use, as version tuples.
    `environment_told`: somebody said what uWSGI's environment is, so a variable that is not in it is a mistake."""

    main: Path
    cwd: Path
    reading: Reading
    settings: Settings
    table: OptionTable
    container: Container
    strict: bool = False
    declared: frozenset[str] = frozenset()
    uwsgi: tuple[int, ...] = (2, 0, 31)
    python: tuple[int, ...] = (3, 13)
    somaxconn: int | None = None
    comparison: Comparison | None = None
    environment_told: bool = True

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.cwd)) if path.is_relative_to(self.cwd) else str(path)

    def has_release(self, name: str) -> bool:
        """Whether the uWSGI in use knows the option."""
        known = self.table.get(name)
        return known is not None and (known.since is None or version_key(known.since) <= self.uwsgi)

    def options_of(self, line: RawLine) -> list[Option]:
        """What uWSGI made of a line: nothing in a block not taken, several options in a loop."""
        return self._by_place.get((line.file, line.number, line.key), [])

    @cached_property
    def _by_place(self) -> dict[tuple[Path | None, int, str], list[Option]]:
        found: dict[tuple[Path | None, int, str], list[Option]] = {}
        for option in self.reading.options:
            found.setdefault((option.file, option.line, option.name), []).append(option)
        return found

    def values_of(self, line: RawLine) -> list[str]:
        """The expanded values of a line; the written one where uWSGI skips the line."""
        return list(dict.fromkeys(option.value for option in self.options_of(line))) or [line.value]

    @cached_property
    def written(self) -> list[RawLine]:
        """Every line of the files, and before them the options that the environment sets."""
        environment = [
            RawLine(None, 0, option.name, option.written, active=True)
            for option in self.reading.options
            if option.file is None and self.table.get(option.name)
        ]
        return [*environment, *self.reading.lines]

    def known_lines(self) -> Iterator[tuple[RawLine, Known]]:
        for line in self.written:
            known = self.table.get(line.key)
            if known:
                yield line, known

    def problems(self, kind: str) -> Iterator[Problem]:
        return (problem for problem in self.reading.problems if problem.kind == kind)

    def finding(
        self,
        where: Where,
        level: Level,
        message: str,
        instead: str,
        effective: str | None = None,
        fix: tuple[str, ...] | None = None,
    ) -> Finding:
        """A finding at an option, a line or a problem; None is the file as a whole."""
        name, written = None, None
        if isinstance(where, Option):
            name, written = where.name, where.written
        elif isinstance(where, RawLine):
            name, written = where.key or None, where.written
        elif isinstance(where, Problem):
            name, written = where.option or None, where.written
        line = 1 if where is None else where.line if isinstance(where, Option | Problem) else where.number
        file = where.file if where else self.main
        if isinstance(where, Option) and effective is None and where.value != where.written:
            effective = where.value
        shown = self.shown(file) if file else "environment"
        return Finding("", level, shown, line, name, written, effective, message, instead, "", fix)


Check = Callable[[Context], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    code: str
    docs: str
    check: Check

    @property
    def explanation(self) -> str:
        """The rule's docstring as one paragraph."""
        return " ".join((self.check.__doc__ or "").split())

    def findings(self, context: Context) -> Iterator[Finding]:
        for finding in self.check(context):
            yield replace(finding, code=self.code, docs=self.docs)


RULES: list[Rule] = []


def rule(code: str, docs: str) -> Callable[[Check], Check]:
    """Register a rule. `code` is stable kebab-case, `docs` a page below DOCS."""

    def register(check: Check) -> Check:
        RULES.append(Rule(code, DOCS + docs, check))
        return check

    return register


def option_docs(name: str) -> str:
    return f"Options.html#{name}"
