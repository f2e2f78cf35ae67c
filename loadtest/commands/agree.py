"""Whether a run here says the same as the published one: `make agree`, after `make loadtest`.

    python -m loadtest.commands.agree [--markdown] [SUMMARY] [--with PUBLISHED]

Shows the ratios of both runs side by side, and where ratios differ what is not the same in both runs. SUMMARY is
results/latest/summary.json unless it is given, PUBLISHED the one of the same runtime in docs/results/. --markdown
prints the table for an issue.
Exit codes: 0 all ratios agree, 1 some do not, 2 they cannot be compared.
"""

import argparse
import sys
from pathlib import Path

from loadtest.commands.progress import console
from loadtest.commands.session import results_folder
from loadtest.results import agreement, files
from loadtest.results.types import ResultError
from stack import CHECKOUT

PUBLISHED = CHECKOUT / "docs/results"


def run(options: argparse.Namespace) -> int:
    own = files.read_summary(options.summary or results_folder() / "latest/summary.json")
    published = options.published or PUBLISHED / f"{own.runtime}.json"
    if not published.exists():
        raise ResultError(f"There is no published run of the {own.runtime} runtime: name one --with FILE.")
    other = files.read_summary(published)
    comparisons = agreement.compare(own, other)
    if not comparisons:
        raise ResultError(f"{published} has no variant that was measured here.")
    table = agreement.table(comparisons)
    differing = sum(not one.agrees for one in comparisons)
    verdict = f"{len(comparisons) - differing} of {len(comparisons)} ratios agree within their rounds and 10 %."
    lines = [verdict]
    if differing:
        lines += ["What is not the same in both runs:", *(f"- {reason}" for reason in agreement.reasons(own, other))]
    if options.markdown:
        print("\n".join([table.markdown(), "", *lines]))
    else:
        console.print(table.terminal())
        console.print("\n".join(lines), markup=False)
    return 1 if differing else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make agree", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("summary", nargs="?", type=Path, help="the run to compare: results/latest/summary.json")
    parser.add_argument("--with", dest="published", type=Path, metavar="FILE", help="the published summary.json")
    parser.add_argument("--markdown", action="store_true", help="print a table of Markdown")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except ResultError as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
