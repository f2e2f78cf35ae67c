"""Collects all rules: every class in a module of this folder that is a Rule."""

import pkgutil
from importlib import import_module

from lowtide.tools.check.findings import Finding
from lowtide.tools.check.rules.base import Context, Rule

__all__ = ["RULES", "Context", "Rule", "run_rules"]

MODULES = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
RULES: list[Rule] = [
    rule
    for module in MODULES
    for member in vars(module).values()
    if isinstance(member, type) and issubclass(member, Rule) and member.__module__ == module.__name__
    for rule in member.instances()
]


def run_rules(context: Context) -> list[Finding]:
    """All findings of all rules, sorted by file and line. Equal findings are listed once, because a file that is
    included twice has its lines twice."""
    findings = dict.fromkeys(finding for rule in RULES for finding in rule.findings(context))
    return sorted(findings, key=lambda finding: (finding.file, finding.line))
