"""`make audit` says that nothing is known only where that was asked of every package."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from stack import audit, sbom

DJANGO: dict[str, Any] = {"name": "django", "version": "1.0", "vulns": []}
HOLE = {"id": "PYSEC-1", "fix_versions": ["1.1"]}


def pip_audit(folder: Path, packages: list[dict[str, Any]] | None) -> Path:
    """A program with pip-audit's output; without packages it fails as pip-audit does when nobody answers."""
    said = "" if packages is None else f"Path(sys.argv[5][9:]).write_text({json.dumps({'dependencies': packages})!r})"
    program = folder / "pip-audit"
    program.write_text(
        f"#!{shlex.quote(sys.executable)}\nimport sys\nfrom pathlib import Path\n"
        f"{said or 'sys.exit(chr(69) + chr(82) + chr(82))'}\n"
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([DJANGO], 0, "1 packages, 0 of them vulnerable"),
        ([DJANGO | {"vulns": [HOLE]}], 1, "django 1.0: PYSEC-1, fixed in 1.1"),
        ([DJANGO, {"name": "axes", "skip_reason": "unknown"}], 2, "1 of 2 packages were not audited"),
        (None, 2, "Nothing was audited, because pip-audit failed: ERR"),
    ],
)
def test_what_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], packages: list[dict[str, Any]] | None, code: int, said: str
) -> None:
    assert audit.main(pip_audit(tmp_path, packages)) == code
    output = capsys.readouterr()
    assert said in output.out + output.err


@pytest.mark.parametrize(
    ("app", "listed"),
    [
        ("psycopg==3.2", {"django", "psycopg", "psycopg-c", "uwsgi"}),
        # Of another version than the locked one, the wheel stays.
        ("psycopg==3.1", {"django", "psycopg", "psycopg-binary", "uwsgi"}),
        ("", {"django", "psycopg-binary", "uwsgi"}),
    ],
)
def test_each_package_of_the_image_is_listed_once(tmp_path: Path, app: str, listed: set[str]) -> None:
    hashed = " \\\n    --hash=sha256:0\n"
    (tmp_path / "app.txt").write_text(f"# locked\ndjango==5.2{hashed}{app}\npsycopg-binary==3.2{hashed}")
    (tmp_path / "postgresql.txt").write_text(f"psycopg==3.2{hashed}psycopg-c==3.2{hashed}")
    (tmp_path / "uwsgi.txt").write_text(f"uwsgi==2.0{hashed}")
    found = sbom.of_the_image(tmp_path)
    assert found.keys() == listed
    assert found["django"] == f"django==5.2{hashed}".rstrip("\n")
