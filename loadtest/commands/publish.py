"""Puts a result into README and docs: `make publish` after `make loadtest`, `compare`, `sweep`, `limit` or `forks`.

    python -m loadtest.commands.publish [DIRECTORY]

DIRECTORY is results/latest unless it is given; results/sweep, results/limit, results/mixed and results/forks are those
of the other three. Its file goes to docs/results/ under its name, that of an experiment as docker.json or local.json by
its runtime, as compare.json when it has rows of `make compare`, or as giving.json when it has the three that give back
and no other. Its picture goes to docs/images/. Every block of README and docs/ that is made from that result is written
anew.
Exit codes: 0 published, 2 it cannot be.
"""

import argparse
import shutil
import sys
from pathlib import Path

from loadtest.commands.session import DEFAULT_VARIANTS, results_folder
from loadtest.results import files, published
from loadtest.results.types import ResultError, Summary
from stack import CHECKOUT

# The rows that give memory back and ask what lowtide is asked; more rounds of these alone say which is quicker.
GIVING = {"lowtide", "trim", "gunicorn-lowtide"}
RESULTS, IMAGES = CHECKOUT / "docs/results", CHECKOUT / "docs/images"


def pages() -> list[Path]:
    """The pages that may hold figures of an experiment."""
    return [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]


def name_of(summary: Summary) -> str:
    """Under which name a result is published.

    Raises:
        ResultError: it is of a deployment, or of another list than the default one.
    """
    if summary.runtime not in ("docker", "local"):
        raise ResultError("Only an experiment of this repository is published, and this was a deployment.")
    if summary.scenario not in ("default", "quick"):
        raise ResultError(f"Only the default list is published, and this was SCENARIO={summary.scenario}.")
    measured = {variant.name for variant in summary.variants}
    if measured == GIVING:
        return "giving"
    default = set(DEFAULT_VARIANTS.split())
    if not default <= measured:
        raise ResultError(f"These variants are missing: {', '.join(sorted(default - measured))}.")
    return "compare" if measured - default else summary.runtime


def files_of(directory: Path) -> tuple[str, Path, Path]:
    """The name, the file and the picture of the result in this directory; the picture may be missing.

    Raises:
        ResultError: there is none, or it is no result to publish.
    """
    for name in published.OTHERS:
        if (file := directory / f"{name}.json").exists():
            return name, file, directory / f"{name}.png"
    return name_of(files.read(directory).summary), directory / "summary.json", directory / "memory.png"


def run(directory: Path) -> int:
    name, file, picture = files_of(directory)
    RESULTS.mkdir(exist_ok=True)
    shutil.copy(file, RESULTS / f"{name}.json")
    if picture.exists() and name in published.PICTURES:
        shutil.copy(picture, IMAGES / published.PICTURES[name])
    written = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := published.filled(text, RESULTS)) != text:
            page.write_text(new, encoding="utf-8")
            written.append(str(page.relative_to(CHECKOUT)))
    print(f"Published as docs/results/{name}.json, in: {', '.join(written) or 'no page, none has a block of it'}.")
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="make publish", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("directory", nargs="?", type=Path, help="a result directory: results/latest")
    options = parser.parse_args(arguments)
    try:
        return run(options.directory or results_folder() / "latest")
    except (ResultError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
