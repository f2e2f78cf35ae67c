"""Variables in a Compose file follow Compose's rules, whether the check reads the file or Compose itself does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lowtide.tools.check.compose import interpolate
from lowtide.tools.check.container import read_container

VALUES = {"SET": "s", "EMPTY": ""}
INTERPOLATED = [
    ("$SET and ${SET}", "s and s"),
    ("${NONE-d} ${EMPTY-d} ${SET-d}", "d  s"),
    ("${NONE:-d} ${EMPTY:-d} ${SET:-d}", "d d s"),
    ("${NONE+r}|${EMPTY+r}|${SET+r}", "|r|r"),
    ("${NONE:+r}|${EMPTY:+r}|${SET:+r}", "||r"),
    ("${NONE:-${EMPTY:-${SET}}}", "s"),
    ("$$SET $${SET} 5$$", "$SET ${SET} 5$"),
    ("${SET:?must be there}", "s"),
    ("${NONE:-a $SET} ${NONE:-{x}", "a s {x"),
    ("${NONE-}", ""),
]


@pytest.mark.parametrize(("text", "value"), INTERPOLATED)
def test_variables(text: str, value: str) -> None:
    assert interpolate(text, VALUES) == value


@pytest.mark.parametrize("text", ["${SET", "${SET!x}", "${NONE:-${SET}"])
def test_what_compose_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$\{"):
        interpolate(text, VALUES)


@pytest.fixture
def compose() -> dict[str, str]:
    """An environment in which Compose is found."""
    surroundings = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    command = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(command, env=surroundings, capture_output=True).returncode:
        pytest.skip("needs docker compose")
    return surroundings


def test_compose_itself_reads_the_same(tmp_path: Path, compose: dict[str, str]) -> None:
    variables = "".join(f"      V{number}: '{text}'\n" for number, (text, _) in enumerate(INTERPOLATED))
    path = tmp_path / "compose.yml"
    path.write_text(
        "services:\n  app:\n    image: app\n    profiles: [never]\n    mem_limit: ${MEMORY-1g}\n"
        "    stop_grace_period: 75s\n    sysctls: [net.core.somaxconn=64]\n    env_file: [a.env]\n"
        f"    environment:\n{variables}      PASSED:\n      UNSET:\n"
    )
    (tmp_path / "a.env").write_text("V0=below\nQUOTED='a b'\n")
    (tmp_path / ".env").write_text("MEMORY=256m\n")
    # With `image` Compose accepts the file and is asked. Without it Compose refuses, and the check reads the file
    # itself.
    environ = VALUES | {"PASSED": "on"}
    asked = read_container(path, "app", compose | environ)
    path.write_text(path.read_text().replace("    image: app\n", ""))
    read = read_container(path, "app", compose | environ)
    assert asked == read
    assert (read.memory, read.stop_grace, read.somaxconn) == (256, 75, 64)
    expected = {f"V{number}": value for number, (_, value) in enumerate(INTERPOLATED)}
    assert read.environment == expected | {"QUOTED": "a b", "PASSED": "on"}
    assert read_container(path, "app", environ | compose, dot_env=False).memory == 1024


def test_what_only_compose_does_is_seen(tmp_path: Path, compose: dict[str, str]) -> None:
    (tmp_path / "base.yml").write_text("services: {base: {image: app, mem_limit: 300m}}")
    path = tmp_path / "compose.yml"
    path.write_text("services: {app: {extends: {file: base.yml, service: base}}}")
    assert read_container(path, None, compose).memory == 300
