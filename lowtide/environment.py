"""Secrets from a file, so that neither `docker inspect` nor other processes of the container have them.

    python -m lowtide.environment COMMAND...     become a command that has the secrets in its environment

SECRETS_FILE names a JSON file with an object, {"SECRET_KEY": "..."}; in Compose that is a file-based secret, which
`make up` writes. Each is a variable of the environment then, unless it is set there already. lowtide.start and
`python -m lowtide.application manage` read the file themselves. Without SECRETS_FILE nothing is read.
"""

import json
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path


class Unreadable(Exception):
    """The file of SECRETS_FILE cannot be used; the message says why."""


def read_secrets(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put the secrets of SECRETS_FILE into an environment, by default that of this process.

    Raises:
        Unreadable: the file is missing or has other content.
    """
    if not (name := environment.get("SECRETS_FILE")):
        return
    try:
        secrets = json.loads(Path(name).read_text())
    except OSError as error:
        raise Unreadable(f"SECRETS_FILE={name} cannot be read: {error.strerror}. `make up` writes it.") from None
    except ValueError:
        secrets = None
    # Nothing of the content is shown, because this ends up in logs.
    if not isinstance(secrets, dict) or not all(isinstance(value, str) for value in secrets.values()):
        raise Unreadable(f'SECRETS_FILE={name} cannot be used: write a JSON object of texts, {{"SECRET_KEY": "..."}}.')
    environment.update({key: value for key, value in secrets.items() if not environment.get(key)})


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        read_secrets()
        os.execvp(command[0], command)  # noqa: S606
    except Unreadable as problem:
        print(problem, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}.", file=sys.stderr)
        return 127


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
