"""The result of one run, for the output modules."""

from dataclasses import dataclass

from lowtide.tools.check.findings import Finding, Level


@dataclass(frozen=True)
class Report:
    """`target` as given on the command line, `file` the one read first, `compared` one sentence about the real uWSGI,
    `fixed` lines rewritten."""

    target: str
    file: str
    findings: list[Finding]
    compared: str
    fixed: int = 0

    @property
    def exit_code(self) -> int:
        """0: nothing above a note. 1: findings."""
        return int(any(finding.level > Level.NOTE for finding in self.findings))
