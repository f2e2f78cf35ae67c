"""Findings as SARIF 2.1.0, which code hosts show beside the changed lines."""

import json
from urllib.parse import quote

import lowtide
from lowtide.tools.check.findings import Finding, Report
from lowtide.tools.check.rules import RULES

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report) -> str:
    """The log of one run. It lists every rule, so that a viewer can explain each code."""
    rules = [
        {
            "id": rule.code,
            "shortDescription": {"text": rule.explanation.partition(". ")[0].rstrip(".") + "."},
            "fullDescription": {"text": rule.explanation},
            "helpUri": rule.docs,
        }
        for rule in RULES
    ]
    results = [_result(finding, report.file) for finding in report.findings]
    driver = {
        "name": "lowtide check",
        "version": lowtide.__version__,
        "informationUri": "https://uwsgi-docs.readthedocs.io/en/latest/Configuration.html",
        "rules": rules,
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=2) + "\n"


def _result(finding: Finding, main: str) -> dict[str, object]:
    """One result. A finding about the environment is placed on line 1 of `main`, because code hosts refuse a log with a
    result that has no place."""
    file, line = (finding.file, finding.line) if finding.line else (main, 1)
    place = {"artifactLocation": {"uri": quote(file)}, "region": {"startLine": line}}
    return {
        "ruleId": finding.code,
        "level": finding.level.word,
        "message": {"text": f"{finding.message} Instead: {finding.instead}"},
        "locations": [{"physicalLocation": place}],
    }
