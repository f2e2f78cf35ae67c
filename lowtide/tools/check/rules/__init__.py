"""All rules, in the order in which their modules are listed here."""

from lowtide.tools.check.findings import Finding
from lowtide.tools.check.rules import lines, memory, names, processes, real, stopping, structure
from lowtide.tools.check.rules.base import RULES, Context, Rule

__all__ = ["MODULES", "RULES", "Context", "Rule", "run_rules"]

MODULES = (structure, names, lines, memory, processes, stopping, real)


def run_rules(context: Context) -> list[Finding]:
    """Every finding of every rule once, by place; the same place keeps the rules' order. A file that is included twice
    has its lines twice."""
    found = [finding for rule in RULES for finding in rule.findings(context)]
    return sorted(dict.fromkeys(found), key=lambda finding: (finding.file, finding.line))
