"""Keeps a stack that is started for measuring away from the user's data: its variables, folder, and where it writes.

Such a stack runs beside the user's own. Its environment contains only variables that are allowed here, never the whole
shell or .env, so it does not learn where the user's data is.
"""

import fcntl
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from stack.write_env import SECRET

# Variables that any program needs to find its files, speak the user's language and reach the network. The size of the
# stack comes with the `own` variables, which loadtest/commands/settings.py reads and checks.
MACHINE = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|TERM|TZ|LANG|LANGUAGE|LC_\w+|XDG_\w+|SSL_CERT_FILE|SSL_CERT_DIR"
    r"|LOG_LEVEL|(DOCKER|BUILDKIT|BUILDX)_\w+|(HTTPS?|FTP|ALL|NO)_PROXY|(https?|ftp|all|no)_proxy"
)
# Other variables that the user gives to the stack under test: "NAME=VALUE ...", quoted as in a shell.
HANDED_OVER = "LOADTEST_ENV"
# Names of databases that the user has allowed, a line each: lowtide/django/contract.py does not ask for another there.
OWNED = "DATABASE_I_OWN"
MARK = ".made-by-the-experiment"


class NotOwn(Exception):
    """The stack would touch something that does not belong to it; the message names it and says what to do."""


def environment(shell: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a stack under test: the allowed variables of `shell`, `own`, and those of LOADTEST_ENV.

    Raises:
        NotOwn: LOADTEST_ENV cannot be read.
    """
    allowed = {name: value for name, value in shell.items() if MACHINE.fullmatch(name)}
    site = {
        "BIND": "127.0.0.1",
        "HTTPS": "off",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "TRUSTED_PROXY": "127.0.0.1/32",
    }
    example = (Path(__file__).resolve().parents[1] / ".env.example").read_text()
    site |= {name: secrets.token_urlsafe(50) for name in SECRET.findall(example)}
    return allowed | site | dict(own) | handed_over(shell)


def handed_over(shell: Mapping[str, str]) -> dict[str, str]:
    try:
        pairs = [word.partition("=") for word in shlex.split(shell.get(HANDED_OVER, ""))]
    except ValueError as problem:
        raise NotOwn(f"{HANDED_OVER} cannot be read ({problem}): write NAME=VALUE ..., quoted as in a shell.") from None
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise NotOwn(f"{HANDED_OVER}: {name} is not NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def fresh_folder(folder: Path) -> None:
    """Empty `folder`, or make it.

    Raises:
        NotOwn: it has files in it and was not made by this function.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise NotOwn(
            f"{folder} holds files that are not the experiment's: move them, or set VAR_DIR to another folder."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def locked(folder: Path) -> TextIO:
    """Keep others out of `folder` as long as the returned file is open.

    Raises:
        NotOwn: another process has locked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        raise NotOwn(
            f"Another experiment (pid {lock.read().strip() or 'unknown'}) works in {folder}: wait for its end, "
            "or set VAR_DIR to another folder."
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def refuse_foreign(
    stores: Iterable[Mapping[str, Any]], folder: Path | None, hosts: Collection[str], owned: Collection[str]
) -> None:
    """Check the places to which an application writes (lowtide/django/stores.py).

    Args:
        folder: files below it belong to the stack; None in containers, where all files do.
        hosts: host names that belong to the stack.
        owned: names of stores that the user has allowed (--database-i-own).

    Raises:
        NotOwn: one of the places does not belong to the stack.
    """
    for store in stores:
        name, host = store["name"], store["host"]
        if store["place"] == "file" and (folder is None or Path(name).is_relative_to(folder.resolve())):
            continue
        if (store["place"] == "host" and host in hosts) or name in owned:
            continue
        variable = "DATABASE_URL" if store["kind"] == "database" else "a variable"
        raise NotOwn(
            f"The application writes to the {store['kind']} {name}, which is not the experiment's own: have its "
            f"settings take it from {variable}, or allow it with --database-i-own {shlex.quote(name)}. "
            "Nothing was sent and nothing emptied."
        )


def refuse_shared(compose: Mapping[str, Any], project: str) -> None:
    """Check, in the output of `docker compose config`, what containers share with the rest of the machine.

    Raises:
        NotOwn: they would share a volume, a folder that they can write to, or a network.
    """
    for kind in ("volumes", "networks"):
        for name, options in compose.get(kind, {}).items():
            if options.get("external") or options.get("name", f"{project}_{name}") != f"{project}_{name}":
                raise NotOwn(
                    f"docker-compose.yml: {kind[:-1]} {name} is called {options.get('name', name)} in every project, "
                    f"so the experiment would share it with the site: remove `name` and `external`."
                )
    for name, service in compose["services"].items():
        for mount in service.get("volumes", []):
            if mount["type"] == "bind" and not mount.get("read_only"):
                raise NotOwn(
                    f"docker-compose.yml: {name} can write to this machine's {mount['source']}, and so could the "
                    "experiment: mount it `:ro`, or use a volume."
                )
        if service.get("network_mode") == "host" or service.get("extra_hosts"):
            raise NotOwn(
                f"docker-compose.yml: {name} has network_mode: host or extra_hosts, so what its host names mean "
                "is not the experiment's own: remove them."
            )
