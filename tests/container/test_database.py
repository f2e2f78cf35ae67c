"""Backup and restore of the database in its container."""

import sys
from pathlib import Path

import pytest

from tests import described
from tests.container.stack import OVERLAY, Stack, run

pytestmark = pytest.mark.container


def test_a_backup_comes_back(stack: Stack, tmp_path: Path) -> None:
    def control(*words: str) -> tuple[int, str, str]:
        environment = stack.env | {"RUNTIME": "docker", "VAR_DIR": str(tmp_path), "COMPOSE_PROJECT_NAME": stack.project}
        environment["COMPOSE_FILE"] = f"docker-compose.yml:{OVERLAY}"
        done = run(sys.executable, "-m", "stack", "--env-file", "/dev/null", *words, env=environment)
        return done.returncode, done.stdout, done.stderr

    def users() -> str:
        code, said, problem = control("psql", "-qAt", "-c", "SELECT username FROM auth_user")
        assert code == 0, problem
        return said.strip()

    stack.execute("app", *described.MANAGE, "createsuperuser", "--noinput", "--username=ann", "--email=ann@example.com")
    code, file, problem = control("backup")
    assert code == 0, problem
    code, _, problem = control("psql", "-qc", "DELETE FROM auth_user")
    assert code == 0, problem
    code, said, problem = control("restore", file.strip(), "--overwrite")
    assert code == 0, problem
    assert "before-restore-" in said
    assert users() == "ann"
    # The application's role has its rights on the tables that came back.
    assert stack.get(described.PAGE).status_code == 200
