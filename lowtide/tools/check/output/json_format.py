"""Findings as JSON: `{"schema": 1, "findings": [...]}`. Keys may be added, but none is removed or renamed."""

import json

from lowtide.tools.check.findings import Report

_KEYS = ("code", "level", "file", "line", "option", "written", "effective", "message", "instead")


def render(report: Report) -> str:
    findings = []
    for finding in report.findings:
        row = {key: getattr(finding, key) for key in _KEYS}
        row["level"] = finding.level.word
        findings.append(row)
    return json.dumps({"schema": 1, "findings": findings}, indent=2) + "\n"
