"""`--fix`: corrects what can be corrected without guessing, and keeps the rest of the file as it is."""

from collections.abc import Iterable
from pathlib import Path

from lowtide.tools.check.files import UnreadableError, decode
from lowtide.tools.check.findings import Finding


def apply_fixes(path: Path, shown: str, findings: Iterable[Finding]) -> int:
    """Rewrite the lines of `path` (called `shown` in the findings) that have a fix; return how many.

    The encoding, line ends and all other lines stay as they are. A line gets only one fix in a run; the next run
    applies the next one. Raises UnreadableError if the file cannot be written.
    """
    text, encoding = decode(path.read_bytes())
    fixes: dict[int, tuple[str, ...]] = {}
    for finding in findings:
        for number, replacement in finding.fixes if finding.file == shown else ():
            fixes.setdefault(number, replacement)
    lines = text.split("\n")
    for number in sorted(fixes, reverse=True):
        end = "\r" if lines[number - 1].endswith("\r") else ""
        lines[number - 1 : number] = [line.rstrip("\r") + end for line in fixes[number]]
    if fixes:
        try:
            path.write_bytes("\n".join(lines).encode(encoding))
        except OSError as error:
            raise UnreadableError(f"{path}: cannot be rewritten: {error.strerror}") from None
    return len(fixes)
