"""Findings as text. The most serious come first, those of one rule together; the end says what to do first."""

import textwrap
from collections import Counter

from lowtide.sizing import counted
from lowtide.tools.check.findings import Finding, Level, Report

_WIDTH = 100


def render(report: Report) -> str:
    groups: dict[str, list[Finding]] = {}
    for finding in sorted(report.findings, key=lambda finding: (-finding.level, -finding.weight)):
        groups.setdefault(finding.code, []).append(finding)
    parts = [_group(group) for group in groups.values()]
    counts = Counter(finding.level for finding in report.findings)
    summary = ", ".join(counted(counts[level], level.word) for level in sorted(Level, reverse=True))
    if report.fixed:
        parts.append(f"Rewrote {counted(report.fixed, 'line')} of {report.target}.")
    parts.append(f"{report.target}: {summary}. {report.compared}")
    first = next((finding for group in groups.values() for finding in group), None)
    if first and first.level > Level.NOTE:
        parts[-1] += f"\nFirst: {_place(first)}: {_short(first.instead.splitlines()[-1])} [{first.code}]"
    return "\n\n".join(parts) + "\n"


def _place(finding: Finding) -> str:
    return f"{finding.file}:{finding.line}" if finding.line else finding.file


def _group(group: list[Finding]) -> str:
    """The findings of one rule, with the address of its page once. A message is not repeated if it is the same
    again."""
    lines: list[str] = []
    for number, finding in enumerate(group):
        written = f"{finding.option} = {finding.written}" if finding.written else finding.option
        shown = f": {_short(written)}" if written and finding.option else ""
        lines.append(f"{_place(finding)}: {finding.level.word}{shown} [{finding.code}]")
        if finding.effective is not None and finding.effective != finding.written:
            lines.append(f"  uWSGI has: {_short(finding.effective)}")
        if not number or finding.message != group[number - 1].message:
            wrapped = textwrap.wrap(finding.message, _WIDTH - 2, break_on_hyphens=False)
            lines += [f"  {line}" for line in wrapped]
        first, *others = finding.instead.split("\n")
        lines.append(f"  Instead: {_short(first)}")
        lines += [f"           {_short(other)}" for other in others]
    return "\n".join([*lines, f"  {group[0].docs}"])


def _short(text: str) -> str:
    """Text of a file, safe for a terminal: blanks joined, control characters made visible, long lines cut."""
    text = " ".join(text.split())
    clean = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
    return clean if len(clean) <= 200 else f"{clean[:197]}..."
