"""The files with the secrets of the containers."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from stack import Failed, secrets

LEAST = {"SECRET_KEY": "key", "POSTGRES_PASSWORD": "own/er@:$#"}


def test_each_container_gets_what_it_needs() -> None:
    given = secrets.made(
        {**LEAST, "APP_DATABASE_PASSWORD": "app", "TOKEN": "t", "EMPTY": ""}, ["TOKEN", "EMPTY"], "shop"
    )
    assert given["app"] == {"SECRET_KEY": "key", "TOKEN": "t", "DATABASE_URL": "postgres://shop_app:app@db:5432/shop"}
    assert given["locust"] == {"TOKEN": "t"}
    assert given["postgres"] == {"password": LEAST["POSTGRES_PASSWORD"]}
    url = urlsplit(given["migrate"]["DATABASE_URL"])
    assert (unquote(url.password or ""), url.hostname, url.path) == (LEAST["POSTGRES_PASSWORD"], "db", "/shop")
    assert given["migrate"]["RUNTIME_DATABASE_URL"] == given["app"]["DATABASE_URL"]


def test_an_older_env_and_a_database_elsewhere() -> None:
    older = secrets.made(LEAST, [], "shop")
    assert urlsplit(older["app"]["DATABASE_URL"]).password == urlsplit(older["migrate"]["DATABASE_URL"]).password
    elsewhere = LEAST | {"DATABASE_URL": "postgres://a@h/x"}
    assert secrets.made(elsewhere, [], "shop")["migrate"]["DATABASE_URL"] == "postgres://a@h/x"
    both = secrets.made(elsewhere | {"MIGRATION_DATABASE_URL": "postgres://o@h/x"}, [], "shop")
    assert (both["app"]["DATABASE_URL"], both["migrate"]["DATABASE_URL"]) == ("postgres://a@h/x", "postgres://o@h/x")


@pytest.mark.parametrize("name", LEAST)
def test_a_missing_one_is_named(name: str) -> None:
    with pytest.raises(Failed, match=f"{name} is not set"):
        secrets.made(LEAST | {name: ""}, [], "shop")


def test_a_change_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    for key, changed in (("first", True), ("first", False), ("second", True)):
        assert secrets.write(folder, secrets.made(LEAST | {"SECRET_KEY": key}, [], "shop")) is changed
    assert (folder / "postgres").read_text() == LEAST["POSTGRES_PASSWORD"]
    assert sorted(file.name for file in folder.iterdir()) == ["app", "locust", "migrate", "postgres"]
