"""The versions of what serves here, for the tables of a measurement; `python -m lowtide.versions` prints JSON."""

import json
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str | None]:
    """Versions of Python, uWSGI, Django and the C library; None for what is not installed."""
    try:
        django = version("django")
    except PackageNotFoundError:
        django = None
    uwsgi = None
    if shutil.which("uwsgi"):
        uwsgi = subprocess.run(["uwsgi", "--version"], capture_output=True, text=True).stdout.strip()
    libc = " ".join(platform.libc_ver()).strip()
    return {"python": platform.python_version(), "uwsgi": uwsgi, "django": django, "libc": libc or None}


if __name__ == "__main__":
    print(json.dumps(versions()))
