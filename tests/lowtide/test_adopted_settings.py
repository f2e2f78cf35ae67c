"""What the stack's settings of an adopted application take from the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DESCRIPTION = """name = "shop"
wsgi = "shop.wsgi:application"
manage = "manage.py"
settings = "shop"
page = "/"
live = "/healthz"
ready = "/readyz"

[variables.PAY_TOKEN]
about = "Pays."
secret = true
"""
SETTINGS = """
import os
SECRET_KEY = "theirs"
PAY_TOKEN = os.environ["PAY_TOKEN"]
CACHES = {"default": {"BACKEND": "none"}, "other": {"BACKEND": "theirs"}}
"""
SHOWN = """
import json
from lowtide.django import adopted_settings as settings
print(json.dumps([settings.SECRET_KEY, settings.PAY_TOKEN, settings.DATABASES["default"]["NAME"], settings.CACHES]))
"""
SECURE = """
import json
from lowtide.django import adopted_settings as settings
print(json.dumps({name: getattr(settings, name) for name in dir(settings) if name.startswith("SECURE_")}))
"""

FOLDERS = """
from lowtide.django import adopted_settings as settings
print(settings.STATIC_ROOT / "x", settings.MEDIA_ROOT + "/y")
"""
# As pulpcore has it. What is imported after the settings asks Dynaconf's object.
DYNACONF = """
import dynaconf
INSTALLED_APPS = []
DATABASES = {"default": {"NAME": "theirs"}}
settings = dynaconf.DjangoDynaconf(__name__)
"""
SEEN = """
import json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "lowtide.django.adopted_settings"
from django.conf import settings as before
before.DEBUG
from django.conf import settings as after
print(json.dumps([
    [type(seen).__module__, seen.DATABASES["default"]["NAME"], list(seen.INSTALLED_APPS)]
    for seen in (before, after)
]))
"""


def loaded(folder: Path, shown: str = SHOWN, settings: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    (folder / "lowtide.toml").write_text(DESCRIPTION)
    (folder / "shop.py").write_text(SETTINGS + settings)
    named = ("SECRET_KEY", "DATABASE_URL", "CACHE_URL", "PAY_TOKEN", "HTTPS", "HSTS_SECONDS")
    environment = {name: value for name, value in os.environ.items() if name not in named}
    environment |= {"APP_DIR": str(folder)} | variables
    return subprocess.run([sys.executable, "-c", shown], env=environment, capture_output=True, text=True)


def test_variables_come_from_files_and_the_cache_is_shared(tmp_path: Path) -> None:
    values = {"SECRET_KEY": "hidden", "DATABASE_URL": f"sqlite:///{tmp_path}/db", "PAY_TOKEN": "paid"}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    files = {f"{name}_FILE": str(tmp_path / name) for name in values}
    done = loaded(tmp_path, CACHE_URL="redis://cache:6379/0", **files)
    assert done.returncode == 0, done.stderr
    secret, token, database, caches = json.loads(done.stdout)
    assert (secret, token, database) == ("hidden", "paid", f"{tmp_path}/db")
    assert caches["default"]["LOCATION"] == "redis://cache:6379/0"
    assert caches["other"] == {"BACKEND": "theirs"}


def test_folders_are_of_the_type_that_the_project_has(tmp_path: Path) -> None:
    folders = 'from pathlib import Path\nSTATIC_ROOT = Path("theirs")\nMEDIA_ROOT = "theirs"\n'
    done = loaded(tmp_path, FOLDERS, folders, PAY_TOKEN="x", STATIC_ROOT="/static", MEDIA_ROOT="/media")
    assert done.stdout == "/static/x /media/y\n", done.stderr


def test_what_dynaconf_puts_in_place_of_the_settings_has_them_too(tmp_path: Path) -> None:
    done = loaded(tmp_path, SEEN, DYNACONF, PAY_TOKEN="paid", DATABASE_URL=f"sqlite:///{tmp_path}/db")
    assert done.returncode == 0, done.stderr
    django, replaced = json.loads(done.stdout)
    assert (django[0], replaced[0]) == ("django.conf", "dynaconf.base")
    assert django[1:] == replaced[1:] == [f"{tmp_path}/db", ["lowtide.django"]]


@pytest.mark.parametrize(
    ("settings", "variables", "redirects", "remembered_s"),
    [
        ("", {}, True, 3600),
        ("", {"HSTS_SECONDS": "7"}, True, 7),
        ("SECURE_SSL_REDIRECT = False", {}, False, 3600),
        ("SECURE_HSTS_SECONDS = 5", {"HSTS_SECONDS": "7"}, True, 5),
        ("SECURE_SSL_REDIRECT = True", {"HTTPS": "off"}, False, 0),
    ],
)
def test_https_is_on_unless_the_application_or_the_variable_says_otherwise(
    settings: str, variables: dict[str, str], redirects: bool, remembered_s: int, tmp_path: Path
) -> None:
    done = loaded(tmp_path, SECURE, settings, PAY_TOKEN="x", **variables)
    assert done.returncode == 0, done.stderr
    secure = json.loads(done.stdout)
    assert (secure["SECURE_SSL_REDIRECT"], secure["SECURE_HSTS_SECONDS"]) == (redirects, remembered_s)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"PAY_TOKEN": "x", "HSTS_SECONDS": "a day"}, "HSTS_SECONDS=a day cannot be used: write a whole number"),
        ({"PAY_TOKEN_FILE": "/none"}, "PAY_TOKEN_FILE=/none cannot be read: "),
        ({"PAY_TOKEN": "x", "CACHE_URL": "cache:6379"}, "CACHE_URL cannot be used: write redis://host:6379/0"),
        ({}, "shop cannot be imported: KeyError: 'PAY_TOKEN'. If it misses a variable of the environment, write"),
    ],
)
def test_a_mistake_is_one_line(variables: dict[str, str], says: str, tmp_path: Path) -> None:
    done = loaded(tmp_path, **variables)
    assert says in done.stderr.splitlines()[-1]
