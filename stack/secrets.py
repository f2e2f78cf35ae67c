"""The secrets of the containers, as files that Compose mounts (docker-compose.yml, `secrets`).

`make up` writes them from .env and the shell. In a variable of a container they would be in `docker inspect`, and in
the environment of each process of the container.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from stack import Failed

# The variables of which they are made, beside the application's own.
NAMES = ("SECRET_KEY", "POSTGRES_PASSWORD", "APP_DATABASE_PASSWORD", "DATABASE_URL", "MIGRATION_DATABASE_URL")


def require(variables: Mapping[str, str], *names: str) -> None:
    """Raises Failed where a secret that `make up` writes into a new .env is not set."""
    for name in names:
        if not variables.get(name):
            raise Failed(f"{name} is not set: write one into .env, or remove .env, and `make up` makes a new one.")


def made(variables: Mapping[str, str], own: Iterable[str], service: str) -> dict[str, dict[str, str]]:
    """What the containers `app`, `migrate` and `locust` get, and the database's password; `own` are the application's.

    Raises:
        Failed: a secret without which nothing starts is missing.
    """
    require(variables, "SECRET_KEY", "POSTGRES_PASSWORD")
    password = variables["POSTGRES_PASSWORD"]
    # An older .env without APP_DATABASE_PASSWORD gives the application's role the owner's password.
    app = variables.get("APP_DATABASE_PASSWORD") or password
    url = variables.get("DATABASE_URL")
    runtime = url or f"postgres://{service}_app:{quote(app, safe='')}@db:5432/{service}"
    owner = (
        variables.get("MIGRATION_DATABASE_URL")
        or url
        or f"postgres://{service}:{quote(password, safe='')}@db:5432/{service}"
    )
    declared = {name: value for name in own if (value := variables.get(name))}
    shared = {"SECRET_KEY": variables["SECRET_KEY"], **declared}
    return {
        "app": {**shared, "DATABASE_URL": runtime},
        # The owner of the tables. RUNTIME_DATABASE_URL says which role `runtime_role` makes for the application.
        "migrate": {**shared, "DATABASE_URL": owner, "RUNTIME_DATABASE_URL": runtime},
        "locust": declared,
        "postgres": {"password": password},
    }


def write(folder: Path, secrets: Mapping[str, Mapping[str, str]]) -> bool:
    """Write the files; whether one of them has changed.

    Only the owner can enter the folder. The files themselves are readable, because Compose mounts them as they are, and
    the users in the containers are others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    changed = False
    for name, values in secrets.items():
        text = values["password"] if name == "postgres" else json.dumps(values)
        file = folder / name
        if not file.exists() or file.read_text() != text:
            unfinished = folder / f".{name}.new"
            unfinished.write_text(text)
            unfinished.chmod(0o444)
            unfinished.replace(file)
            changed = True
    return changed
