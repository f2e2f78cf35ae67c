"""Findings as JSON: `{"schema": 1, "findings": [...]}`. Keys may be added, but none is removed or renamed."""

import json

from lowtide.tools.check.findings import Report

_KEYS = ("code", "level", "file", "line", "option", "written", "effective", "message", "instead")


def render(report: Report) -> str:
    rows = ({key: getattr(finding, key) for key in _KEYS} for finding in report.findings)
    findings = [{**row, "level": row["level"].word} for row in rows]
    return json.dumps({"schema": 1, "findings": findings}, indent=2) + "\n"
