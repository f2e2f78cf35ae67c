"""Collects all rules: every Rule in a module of this folder, by itself or in a list."""

import pkgutil
from importlib import import_module

from lowtide.tools.check.findings import Finding
from lowtide.tools.check.rules.base import Context, Rule

__all__ = ["RULES", "Context", "Rule", "run_rules"]

RULES: list[Rule] = [
    rule
    for module in pkgutil.iter_modules(__path__)
    for member in vars(import_module(f"{__name__}.{module.name}")).values()
    for rule in (member if isinstance(member, list) else [member])
    if isinstance(rule, Rule)
]


def run_rules(context: Context) -> list[Finding]:
    """All findings of all rules, sorted by file and line. Equal findings are listed once, because a file that is
    included twice has its lines twice."""
    findings = dict.fromkeys(finding for rule in RULES for finding in rule.findings(context))
    return sorted(findings, key=lambda finding: (finding.file, finding.line))
