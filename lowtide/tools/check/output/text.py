"""Findings for people."""

import textwrap
from collections import Counter

from lowtide.tools.check.findings import Finding, Level
from lowtide.tools.check.report import Report

_WIDTH = 100


def render(report: Report) -> str:
    parts = [_one(finding) for finding in report.findings]
    counts = Counter(finding.level for finding in report.findings)
    summary = ", ".join(_count(counts[level], level.word) for level in sorted(Level, reverse=True))
    if report.fixed:
        parts.append(f"Rewrote {_count(report.fixed, 'line')} of {report.target}.")
    parts.append(f"{report.target}: {summary}. {report.compared}")
    return "\n\n".join(parts) + "\n"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _one(finding: Finding) -> str:
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    written = f": {_shown(finding.option, finding.written)}" if finding.option else ""
    lines = [f"{place}: {finding.level.word}{written} [{finding.code}]"]
    if finding.effective is not None and finding.effective != finding.written:
        lines.append(f"  uWSGI has: {_short(finding.effective)}")
    lines += textwrap.wrap(finding.message, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    first, *others = finding.instead.split("\n")
    lines.append(f"  Instead: {_short(first)}")
    lines += [f"           {_short(other)}" for other in others]
    lines.append(f"  {finding.docs}")
    return "\n".join(lines)


def _shown(option: str | None, written: str | None) -> str:
    return _short(f"{option} = {written}" if written is not None else f"{option}")


def _short(text: str) -> str:
    """Text of a file on a terminal: blanks folded, control characters made visible, long lines cut."""
    text = " ".join(text.split())
    clean = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return clean if len(clean) <= 200 else f"{clean[:197]}..."
