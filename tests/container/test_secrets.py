"""Where the secrets of a running stack are: with the processes that need them, and nowhere else."""

import json
import stat
import subprocess

import pytest

from tests import described
from tests.container.stack import Stack, run

pytestmark = pytest.mark.container

# Prints the name of each process whose environment has one of these texts.
HOLDERS = """
for process in /proc/[0-9]*; do
    if tr '\\0' '\\n' <"$process/environ" 2>/dev/null | grep -qF "$@"; then cat "$process/comm"; fi
done | sort -u
"""


def planted(stack: Stack) -> list[str]:
    names = ["SECRET_KEY", "POSTGRES_PASSWORD", "APP_DATABASE_PASSWORD", *described.APPLICATION.secrets]
    return [stack.env[name] for name in names]


def test_no_secret_is_where_it_need_not_be(stack: Stack) -> None:
    secrets = planted(stack)
    patterns = [word for secret in secrets for word in ("-e", secret)]
    # Requests that the application refuses, and one that fails in its login, have their say in the logs.
    stack.get(described.NO_PAGE)
    stack.get("/admin/")
    for path in ("/readyz", described.PAGE):
        assert stack.get(path).status_code == 200
    everything = stack.compose("ps", "--all", "--quiet").stdout.split()
    assert len(everything) >= 4
    texts = {
        "docker inspect": run("docker", "inspect", *everything).stdout,
        "the logs": stack.compose("logs", "--no-color").stdout,
        "the images' history": "".join(
            run("docker", "history", "--no-trunc", f"{described.NAME}-{image}").stdout for image in ("app", "nginx")
        ),
    }
    for place, text in texts.items():
        assert len(text) > 1000, place
        assert not [secret for secret in secrets if secret in text], place
    # The application's description is in its image and has the token of the experiment, which is no secret.
    layers = [word for secret in secrets if secret not in described.VARIABLES.values() for word in ("-e", secret)]
    for image in ("app", "nginx"):
        search = f'docker save {described.NAME}-{image} | grep --text --fixed-strings --count "$@"'
        done = subprocess.run(["bash", "-o", "pipefail", "-c", search, "_", *layers], capture_output=True, text=True)
        assert (done.returncode, done.stdout.strip()) == (1, "0"), done.stderr
    # The look finds a process that has one, and nginx has none. uWSGI writes its title over the place of its own.
    told = stack.compose("exec", "-T", "--env", f"PLANTED={secrets[0]}", "nginx", "bash", "-c", HOLDERS, "_", *patterns)
    assert "bash" in told.stdout.split()
    assert stack.execute("nginx", "bash", "-c", HOLDERS, "_", *patterns).stdout == ""
    assert set(stack.execute("app", "bash", "-c", HOLDERS, "_", *patterns).stdout.split()) <= {"uwsgi"}
    # A command that somebody starts there has none of them by itself.
    assert not [secret for secret in secrets if secret in stack.execute("app", "env").stdout]
    # Each container has its own secrets only.
    owner = secrets[1]
    assert "planted" in stack.execute("app", "cat", "/run/secrets/app").stdout
    assert owner not in json.loads(stack.execute("app", "cat", "/run/secrets/app").stdout)["DATABASE_URL"]
    for service, secret in (("app", "migrate"), ("app", "postgres"), ("nginx", "app"), ("db", "app")):
        assert stack.execute(service, "cat", f"/run/secrets/{secret}", check=False).returncode != 0


def test_only_their_owner_reaches_the_files(stack: Stack) -> None:
    assert stat.S_IMODE(stack.secrets_folder.stat().st_mode) == 0o700
    # The users in the containers are others than the files' owner.
    assert {stat.S_IMODE(file.stat().st_mode) for file in stack.secrets_folder.iterdir()} == {0o444}
