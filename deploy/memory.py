"""Writes the container's limits that follow from [measured] in app/lowtide.toml into the manifests.

`make size ARGS=--apply` calls it.

deploy.aws passes its own limits to the template, whose defaults these are. Exit code 2, with one line, where the
figures cannot be used.
"""

import re
import sys
from pathlib import Path

from deploy.aws.environment import Limits, Refused, limits
from lowtide import application, defaults

DEPLOY = Path(__file__).resolve().parent
# The lines with the numbers: what stands before each of them.
PLACES = (
    ("kubernetes/base/site.yml", r"requests: \{cpu: 500m, memory: ", "soft_mb"),
    ("kubernetes/base/site.yml", r"limits: \{memory: (?=\d+Mi, ephemeral-storage: 256Mi)", "hard_mb"),
    ("aws/templates/service.yml", r"AppMemory: \{Type: Number, Default: ", "hard_mb"),
    ("aws/templates/service.yml", r"AppMemoryReservation: \{Type: Number, Default: ", "soft_mb"),
)


def write(limit: Limits, folder: Path = DEPLOY) -> list[str]:
    """Write the limits; returns the files that changed.

    Raises:
        Refused: a file has no such line, or several.
    """
    texts = {name: (folder / name).read_text() for name, _, _ in PLACES}
    before = dict(texts)
    for name, start, field in PLACES:
        texts[name], count = re.subn(rf"(?m)^(\s*{start})\d+", rf"\g<1>{getattr(limit, field)}", texts[name])
        if count != 1:
            raise Refused(f"{name} has {count} lines that begin with {start}: write {field} = {getattr(limit, field)}.")
    changed = [name for name in texts if texts[name] != before[name]]
    for name in changed:
        (folder / name).write_text(texts[name])
    return changed


def main() -> int:
    try:
        limit = limits(defaults.WORKERS, defaults.LARGE_WORKERS, defaults.RELOAD_ON_RSS)
        changed = write(limit)
    except (Refused, application.Invalid) as problem:
        print(problem, file=sys.stderr)
        return 2
    print(f"deploy/: hard limit {limit.hard_mb} MiB, soft {limit.soft_mb}; changed: {', '.join(changed) or 'nothing'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
