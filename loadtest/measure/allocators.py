"""Allocators that stand in for glibc's malloc by LD_PRELOAD, from Debian's packages: here, or in the image `peers`."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable

from loadtest.measure import CannotMeasure
from stack import Failed


def library(name: str) -> str | None:
    """The path of lib<name>.so as the dynamic linker knows it, or None."""
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, env=os.environ | SBIN).stdout
    line = re.search(rf"^\s*lib{name}\.so\S* .*=> (/\S+)$", known, re.MULTILINE)
    return line[1] if line else None


def installed(name: str) -> str:
    """The path of the library, installed from Debian first where that is needed and allowed.

    Raises:
        CannotMeasure: it is not there and cannot be installed here.
    """
    if path := library(name):
        return path
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise CannotMeasure(f"{name} is not installed. On Debian or Ubuntu: sudo apt-get install 'lib{name}[0-9]'")
    for command in (
        ["apt-get", "update"],
        # The package's name carries a version that differs between releases.
        ["apt-get", "install", "--yes", "--no-install-recommends", f"^lib{name}[0-9.]+$"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | QUIET)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [""])[-1]
            raise CannotMeasure(f"{name} is needed, and `{' '.join(command)}` failed: {said}")
    if path := library(name):
        return path
    raise CannotMeasure(f"{name} was installed, but the dynamic linker does not know it.")


def in_image(name: str) -> str:
    """The path of the library in the image `peers` (Dockerfile)."""
    return f"/usr/local/lib/lib{name}.so"


def described(name: str, run: Callable[[list[str]], str]) -> str:
    """The allocator with the version of its Debian package, where it came from one."""
    command = [
        "dpkg-query",
        "--show",
        "--showformat",
        "${db:Status-Status} ${source:Upstream-Version}\\n",
        f"lib{name}[0-9]*",
    ]
    try:
        lines = run(command).splitlines()
    except (CannotMeasure, Failed):
        # dpkg-query is not there, or knows no such package.
        lines = []
    return " ".join([name, *(line.split()[1] for line in lines if line.startswith("installed "))][:2])


SBIN = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "LC_ALL": "C"}
QUIET = {"DEBIAN_FRONTEND": "noninteractive"}
