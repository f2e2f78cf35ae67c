"""The stack's controller. RUNTIME says which of the two: docker (Compose) or local (plain processes).

    python -m stack [--env-file FILE] COMMAND

    up | down | logs          start and wait, stop (data stays), follow the logs
    replace                   a container of the present version in the place of the application's, refusing no request
    run COMMAND...            a command where the application runs, in its environment
    manage WORDS...           manage.py there
    shell                     a shell there
    kill PID...               end processes of the server at once
    psql [WORDS...]           the prompt of the database (of SQLite, where that is the database)
    backup [FILE]             the database into a file, by default below var/backups
    restore FILE [--overwrite]    the database from such a file; then it is migrated
    prepare                   local: tables and static files, without a server
    dev                       Django's own server on this machine, whatever RUNTIME says: it loads changed code anew
    env COMMAND...            a command of this machine in the local runtime's environment, whatever RUNTIME says

Settings come from the environment, then .env, then .env.example; with --env-file from the environment and that file
alone. Exit codes: the command's, or 2 for what could not be done, with one line that says why.
"""

import os
import re
import sys
from pathlib import Path

from stack import Failed, Stack, database
from stack.docker import Docker

MANAGE = ("python", "-m", "lowtide.application", "manage")
# How many words may follow each command.
WORDS = {
    **dict.fromkeys(("up", "down", "replace", "logs", "shell", "prepare", "dev"), (0, 0)),
    **dict.fromkeys(("run", "manage", "kill", "env"), (1, sys.maxsize)),
    "psql": (0, sys.maxsize),
    "backup": (0, 1),
    "restore": (1, 2),
}


def main(arguments: list[str]) -> int:
    env_file = None
    if arguments[:1] == ["--env-file"] and len(arguments) > 1:
        env_file, arguments = arguments[1], arguments[2:]
    verb, words = (arguments or [""])[0], arguments[1:]
    least, most = WORDS.get(verb, (1, 0))
    if not least <= len(words) <= most or (verb == "restore" and words[1:] not in ([], ["--overwrite"])):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return told(verb, words, env_file)
    except Failed as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def told(verb: str, words: list[str], env_file: str | None) -> int:
    runtime = os.environ.get("RUNTIME") or "local"
    if runtime not in ("docker", "local"):
        raise Failed(f"RUNTIME={runtime} is not a runtime: use docker or local.")
    if runtime == "docker" and verb not in ("prepare", "env", "dev"):
        return done(Docker(os.environ, ["--env-file", env_file] if env_file else []), verb, words)
    # Imported here, because it needs the packages in .venv, which are not installed where Docker is used.
    from stack.local import Local, environment

    local = Local(environment(env_file))
    if verb == "prepare":
        local.prepare()
        return 0
    if verb == "dev":
        return local.develop()
    return done(local, verb, words)


def done(stack: Stack, verb: str, words: list[str]) -> int:
    if verb in ("up", "down", "replace"):
        if said := {"up": stack.up, "down": stack.down, "replace": stack.replace}[verb]():
            print(said)
        return 0
    if verb == "logs":
        return stack.logs()
    if verb == "kill":
        stack.kill(process_ids(words))
        return 0
    if verb == "psql":
        return stack.database().prompt(words)
    if verb == "backup":
        print(database.backup(stack.database(), stack.backups, *words))
        return 0
    if verb == "restore":
        return restore(stack, Path(words[0]), overwrite=len(words) > 1)
    return stack.run({"manage": [*MANAGE, *words], "shell": ["bash"]}.get(verb, words))


def restore(stack: Stack, file: Path, overwrite: bool) -> int:
    before = database.restore(stack.database(), stack.backups, file, overwrite)
    if before:
        print(f"What was there before is in {before}", flush=True)
    # The file may be from an older version of the application.
    if stack.migrate():
        raise Failed(f"{file} was restored, but could not be migrated to this version, as said above.")
    print(f"{file} was restored.")
    return 0


def process_ids(words: list[str]) -> list[int]:
    """The ids that `kill` was given. 0 and negative numbers are refused, because they mean groups of processes."""
    for word in words:
        if not re.fullmatch("[1-9][0-9]*", word):
            raise Failed(f"kill {word}: give ids of processes, whole numbers from 1.")
    return [int(word) for word in words]


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
