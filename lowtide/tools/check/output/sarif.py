"""Findings as SARIF 2.1.0, which code hosts show beside the changed lines."""

import json
from urllib.parse import quote

import lowtide
from lowtide.tools.check.findings import Finding, Report
from lowtide.tools.check.rules import RULES
from lowtide.tools.check.rules.base import DOCS

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(report: Report) -> str:
    """The log of one run. It lists every rule, so that a viewer can explain each code."""
    rules = []
    for rule in RULES:
        short = rule.explanation.partition(". ")[0].rstrip(".") + "."
        texts = {"shortDescription": {"text": short}, "fullDescription": {"text": rule.explanation}}
        rules.append({"id": rule.code, **texts, "helpUri": rule.docs})
    results = [_result(finding, report.file) for finding in report.findings]
    page = f"{DOCS}Configuration.html"
    driver = {"name": "lowtide check", "version": lowtide.__version__, "informationUri": page, "rules": rules}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=2) + "\n"


def _result(finding: Finding, main: str) -> dict[str, object]:
    """One result. A finding about the environment is placed on line 1 of `main`, because code hosts refuse a log with a
    result that has no place."""
    file, line = (finding.file, finding.line) if finding.line else (main, 1)
    place = {"artifactLocation": {"uri": quote(file)}, "region": {"startLine": line}}
    text = {"text": f"{finding.message} Instead: {finding.instead}"}
    locations = [{"physicalLocation": place}]
    return {"ruleId": finding.code, "level": finding.level.word, "message": text, "locations": locations}
