"""The rule about the list of large paths, for a server of this stack whose ledger can be read here."""

import re
from collections.abc import Iterator
from pathlib import Path

from lowtide import application, ledger
from lowtide.tools import routes
from lowtide.tools.check.findings import Finding
from lowtide.tools.check.rules.base import MEMORY, NOTE, WARNING, Context, rule


@rule("large-list-differs", "Options.html#stats")
def large_list_differs(c: Context) -> Iterator[Finding]:
    """nginx sends the paths that lowtide.toml lists to the workers for large requests. The ledger of the running server
    (RUN_DIR/ledger, beside its stats socket) knows what each route took: one that is large and not listed inflates the
    workers for small requests, and one that is listed and not large waits behind large ones for nothing."""
    option = c.option("stats")
    if option is None or not option.value.startswith("/"):
        return
    file = Path(option.value).with_name("ledger")
    try:
        described = application.read()
        rows, unknown = ledger.read(file)
        small, _ = ledger.read(file, small=True)
    except (OSError, ValueError, application.Invalid):
        return
    if unknown:
        return
    verdict = routes.judge(described.large, list(map(routes.figures, rows)), list(map(routes.figures, small)))
    shown, instead = c.shown(described.file.absolute()), "lowtide top --routes prints the list"
    lines = described.file.read_text().splitlines()
    line = next((number for number, text in enumerate(lines, 1) if re.match(r"large\s*=", text)), 1)
    for level, words in ((WARNING, verdict.missing), (NOTE, verdict.needless)):
        for message in words.values():
            yield Finding(level, shown, line, "large", None, None, f"{message}.", instead, weight=MEMORY)
