"""The user model of the sample application: a class of the project, with a way in and a way out."""

import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from accounts.models import User
from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client

from tests.app.test_settings import KEY
from tests.machine import CHECKOUT

pytestmark = pytest.mark.slow

SETTINGS = "app/config/settings.py"
USER_MODEL = 'AUTH_USER_MODEL = "accounts.User"'


def without_user_model(folder: Path) -> Path:
    """A copy of the application after the one step that takes its user model away (docs/first-day.md)."""
    copy = folder / "without"
    shutil.copytree(CHECKOUT / "app", copy / "app", ignore=shutil.ignore_patterns("__pycache__"))
    text = (copy / SETTINGS).read_text()
    lines = [line for line in text.splitlines(keepends=True) if line.strip() not in ('"accounts",', USER_MODEL)]
    assert len(lines) == len(text.splitlines()) - 2
    (copy / SETTINGS).write_text("".join(lines))
    return copy


def manage(folder: Path, database: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{database}", "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "app/manage.py", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.django_db
def test_the_model_is_the_projects_own() -> None:
    assert get_user_model() is User
    assert settings.AUTH_USER_MODEL == "accounts.User"
    client = Client()
    client.force_login(User.objects.create_superuser("ann", password="a password"))
    assert client.get("/admin/accounts/user/").status_code == 200
    assert client.get("/admin/accounts/user/add/").status_code == 200


def test_it_is_removed_in_one_step(tmp_path: Path) -> None:
    """Without its two lines the application has Django's own user model, and migrates."""
    copy = without_user_model(tmp_path)
    database = tmp_path / "own.sqlite3"
    assert manage(copy, database, "migrate").returncode == 0
    assert manage(copy, database, "check", "--fail-level=WARNING").returncode == 0
    show = "from django.contrib.auth import get_user_model as m; print(m()._meta.label)"
    assert manage(copy, database, "shell", "--verbosity=0", f"--command={show}").stdout == "auth.User\n"


def test_a_database_from_before_keeps_its_users(tmp_path: Path) -> None:
    """The statements of docs/upgrade.md bring a database with Django's own users to this model."""
    database = tmp_path / "old.sqlite3"
    old = without_user_model(tmp_path)
    assert manage(old, database, "migrate").returncode == 0
    make = "from django.contrib.auth import get_user_model as m; m().objects.create_superuser('ann', password='right')"
    assert manage(old, database, "shell", "--verbosity=0", f"--command={make}").returncode == 0

    refused = manage(CHECKOUT, database, "migrate")
    assert "InconsistentMigrationHistory" in refused.stderr
    statements = re.search(r"```sql\n(.+?)```", (CHECKOUT / "docs/upgrade.md").read_text(), re.DOTALL)
    assert statements
    with sqlite3.connect(database) as connection:
        connection.executescript(statements[1])
    connection.close()

    migrated = manage(CHECKOUT, database, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "No migrations to apply" in migrated.stdout
    show = "from accounts.models import User as U; u = U.objects.get(); print(u.username, u.check_password('right'))"
    assert manage(CHECKOUT, database, "shell", "--verbosity=0", f"--command={show}").stdout == "ann True\n"
    # The permissions on users belong to the model's new name, once.
    count = "SELECT app_label FROM django_content_type WHERE model = 'user'"
    with sqlite3.connect(database) as connection:
        assert connection.execute(count).fetchall() == [("accounts",)]
    connection.close()
