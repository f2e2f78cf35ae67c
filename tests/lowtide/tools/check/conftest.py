"""What the tests of the check share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lowtide.tools.check.compare import Comparison
from lowtide.tools.check.container import Container
from lowtide.tools.check.findings import Finding
from lowtide.tools.check.options import load_options, version_key
from lowtide.tools.check.reader import Reader
from lowtide.tools.check.rules import Context, run_rules

HERE = Path(__file__).parent

# The surroundings of the checked file unless a test says otherwise, so that nothing depends on this machine.
Findings = Callable[..., list[Finding]]


@pytest.fixture
def findings_in(tmp_path: Path) -> Findings:
    """Write `text` to a file and return what the rules find in it. `name` is the file's, `options` are Context's."""

    def check(
        text: str | bytes,
        name: str = "uwsgi.ini",
        environ: dict[str, str] | None = None,
        processes: int | None = None,
        container: Container | None = None,
        uwsgi: str = "2.0.31",
        python: str = "3.12",
        somaxconn: int | None = 4096,
        comparison: Comparison | None = None,
        environment_told: bool = True,
    ) -> list[Finding]:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        table = load_options()
        reader = Reader(table, environ or {}, tmp_path)
        reading = reader.read(name)
        return run_rules(
            Context(
                main=path,
                cwd=tmp_path,
                reading=reading,
                processes=processes,
                table=table,
                container=container or Container("none"),
                uwsgi=version_key(uwsgi),
                python=version_key(python),
                somaxconn=somaxconn,
                comparison=comparison or Comparison(),
                environment_told=environment_told,
            )
        )

    return check
