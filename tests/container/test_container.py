"""What only containers can show: how they are sealed off, their limits, and the order of their starts and stops."""

import http.client
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from loadtest.measure import recycles, variants
from lowtide.application import Request
from stack import Failed
from stack.docker import Docker
from tests import described
from tests.container.stack import Stack, run
from tests.described import PAGE
from tests.machine import CHECKOUT

pytestmark = pytest.mark.container

SERVICES = ("nginx", "app", "db")


def wait_until(what: str, holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:.0f} s still not: {what}")
        time.sleep(0.2)


def test_site_answers_through_nginx(stack: Stack) -> None:
    assert stack.get("/healthz").status_code == 200
    assert stack.get("/readyz").status_code == 200
    page = stack.get(PAGE)
    assert page.status_code == 200
    assert page.headers["Server"] == "nginx"
    style = stack.get(described.stylesheet(page.text))
    assert style.status_code == 200
    assert style.headers["Content-Type"].startswith("text/css")


@pytest.mark.parametrize("service", SERVICES)
def test_container_has_no_privilege(stack: Stack, service: str) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in stack.execute(service, "cat", "/proc/1/status").stdout.splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split(), "process 1 is root"
    assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert stack.inspect(service)["HostConfig"]["PidsLimit"] > 0


@pytest.mark.parametrize("service", SERVICES)
def test_root_file_system_is_read_only(stack: Stack, service: str) -> None:
    # As root, so that the write fails for the read-only mount and not for the owner of the file.
    attempt = stack.compose("exec", "-T", "--user", "0", service, "touch", "/etc/planted", check=False)
    assert attempt.returncode != 0
    assert "Read-only file system" in attempt.stderr


def test_only_nginx_publishes_and_on_loopback(stack: Stack) -> None:
    published = {service: stack.inspect(service)["HostConfig"]["PortBindings"] for service in SERVICES}
    assert published["app"] == {}
    assert published["db"] == {}
    assert published["nginx"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}


def test_application_and_database_have_no_way_out(stack: Stack) -> None:
    # Engines seal an internal network in different ways (routes, packet filter), so look only at whether it is
    # internal.
    data = f"{stack.project}_data"
    for service in ("app", "db"):
        assert list(stack.inspect(service)["NetworkSettings"]["Networks"]) == [data]
    assert json.loads(run("docker", "network", "inspect", data).stdout)[0]["Internal"] is True


def test_memory_limit_is_in_force(stack: Stack) -> None:
    assert float(stack.python("from lowtide import memory; print(memory.limit_mb())")) == 1024
    limits = stack.inspect("app")["HostConfig"]
    assert limits["MemorySwap"] == limits["Memory"], "inflated workers could go to swap"


def test_a_limit_below_an_idle_worker_is_said(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stack.too_low() == ""
    monkeypatch.setitem(stack.env, "RELOAD_ON_RSS", "40")
    assert "MiB and RELOAD_ON_RSS is 40, so workers are replaced too often: write RELOAD_ON_RSS=" in stack.too_low()
    monkeypatch.setitem(stack.env, "WORKER_MANAGEMENT", "article")
    assert stack.too_low() == ""


def test_migrations_are_applied_before_the_application_starts(stack: Stack) -> None:
    migrate = stack.inspect("migrate")["State"]
    assert (migrate["Status"], migrate["ExitCode"]) == ("exited", 0)
    assert migrate["FinishedAt"] <= stack.inspect("app")["State"]["StartedAt"]
    stack.execute("app", "python", "-m", "lowtide.application", "manage", "migrate", "--check")


def test_the_application_is_not_the_owner_of_its_tables(stack: Stack) -> None:
    shell = [*described.MANAGE, "shell", "-v", "0", "-c"]
    code = (
        "from django.db import connection; cursor = connection.cursor();"
        "cursor.execute('SELECT rolname, rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user');"
        "print(*cursor.fetchone());"
    )
    assert stack.execute("app", *shell, code).stdout.strip() == f"{described.NAME}_app False False"
    drop = f"{code} cursor.execute('DROP TABLE django_migrations')"
    refused = stack.execute("app", *shell, drop, check=False)
    assert "must be owner of table django_migrations" in refused.stderr
    # Only Locust's containers call the site by the name nginx.
    asked = requests.get(stack.url, headers={"Host": "nginx"}, timeout=30)
    assert asked.status_code == 400


@pytest.mark.parametrize("name", ["SECRET_KEY", "POSTGRES_PASSWORD"])
def test_missing_secret_stops_with_the_remedy(engine: None, name: str) -> None:
    stack = Stack(port=1)
    del stack.env[name]
    with pytest.raises(Failed, match=f"{name} is not set: .* `make up` makes a new one"):
        stack.write_secrets()


def test_containers_of_another_checkout_are_left_alone(engine: None, tmp_path: Path) -> None:
    project = f"lowtide-test-{secrets.token_hex(4)}"
    owner = {"project": project, "project.working_dir": str(tmp_path), "service": "app"}
    # Compose finds the containers of a project by these labels.
    owner |= {"config-hash": "0", "container-number": "1", "oneoff": "False"}
    labels = [f"--label=com.docker.compose.{name}={value}" for name, value in owner.items()]
    assert run("docker", "create", "--name", project, *labels, "debian:trixie-slim").returncode == 0
    try:
        done = run("make", "down", env=os.environ | {"RUNTIME": "docker", "COMPOSE_PROJECT_NAME": project})
        assert run("docker", "inspect", project).returncode == 0, "it was removed"
    finally:
        run("docker", "rm", "--force", project)
    assert done.returncode == 2
    assert f"The checkout in {tmp_path} has containers of the same name" in done.stderr


def test_the_figures_are_closed_to_nginx(stack: Stack) -> None:
    """nginx is in the group to which the sockets of the application are open."""
    modes = stack.execute("nginx", "stat", "-c", "%a", "/run/lowtide/small.sock", "/run/lowtide/stats.sock")
    assert modes.stdout.split() == ["660", "600"]


def test_image_has_no_tools_of_a_desk(stack: Stack) -> None:
    """The image has neither `lowtide check` nor `lowtide diagnose`. It has `lowtide size`, for watching a server."""
    desk = ("budget", "check", "diagnose")
    names = f"import importlib.util as u; print([n for n in {desk} if u.find_spec(f'lowtide.tools.{{n}}')])"
    assert stack.python(names) == "[]"
    files = stack.execute("app", "find", "/srv/lowtide/lowtide/tools").stdout.splitlines()
    assert "/srv/lowtide/lowtide/tools/size/command.py" in files
    assert not [file for file in files if any(f"/{name}/" in file for name in desk)]
    stack.execute("app", "python", "-m", "lowtide", "size", "--help")


@pytest.mark.parametrize("image", ["app", "nginx"])
def test_image_is_labelled_and_not_root(stack: Stack, image: str) -> None:
    config = json.loads(run("docker", "image", "inspect", f"{described.NAME}-{image}").stdout)[0]["Config"]
    labels = {name.rpartition(".")[2] for name in config["Labels"] if name.startswith("org.opencontainers.image.")}
    assert {"title", "description", "licenses", "version", "revision"} <= labels
    assert re.fullmatch(r"1000\d:10001", config["User"])


def test_uwsgi_runs_in_debians_python(stack: Stack) -> None:
    maps = stack.execute("app", "cat", "/proc/1/maps").stdout
    assert "/pyuwsgi." in maps
    assert re.search(r" /usr/bin/python3\.\d+$", maps, re.MULTILINE)
    assert "/libpython" not in maps


@pytest.mark.parametrize("image", ["app", "nginx"])
def test_image_has_no_tools_to_build_with(stack: Stack, image: str) -> None:
    output = stack.execute(
        image, "sh", "-c", "for tool in cc gcc ld make pip pip3; do command -v $tool; done; true"
    ).stdout
    assert output == ""
    # Look for the module, because pip may be there without its command.
    if image == "app":
        assert stack.python("import importlib.util as u; print(u.find_spec('pip'))") == "None"


def test_change_of_the_application_reuses_the_dependencies(stack: Stack, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("Dockerfile", ".dockerignore", "uwsgi.ini"):
        shutil.copy2(CHECKOUT / name, copy)
    for name in ("app", "lowtide", "nginx", "requirements"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Another text each time, because the engine's build cache still has the one of the last run.
    (copy / "app/changed.txt").write_text(secrets.token_hex())
    # The build of an application that is a package writes where it is installed.
    description = copy / "app/lowtide.toml"
    description.write_text('build = ["touch /srv/venv/built"]\n' + description.read_text())
    tag = f"{stack.project}-layers"
    built = run("docker", "build", "--progress", "plain", "--target", "app", "--tag", tag, str(copy))
    assert built.returncode == 0, built.stderr[-4000:]
    written = run("docker", "run", "--rm", tag, "test", "-e", "/srv/venv/built").returncode
    run("docker", "image", "rm", tag)
    assert written == 0, "what the build wrote is not in the image"
    output = built.stdout + built.stderr
    names = dict(re.findall(r"^#(\d+) (\[.*)$", output, re.MULTILINE))
    cached = {names[number] for number in re.findall(r"^#(\d+) CACHED$", output, re.MULTILINE) if number in names}
    packages = "apt-get install --yes --no-install-recommends libpq5 python3 "
    for expected in (packages, "-r /tmp/uwsgi.txt", "-r /tmp/app.txt"):
        assert any(expected in name for name in cached), f"built again: {expected}\n{output[-4000:]}"
    assert not any("COPY app app" in name for name in cached), "the change did not reach the image"


def test_one_openssl_is_loaded(stack: Stack) -> None:
    """psycopg and Python use the same one; with its wheel psycopg would bring another."""
    loaded = stack.execute("app", "cat", "/proc/1/maps").stdout
    assert len({line.split()[-1] for line in loaded.splitlines() if "libcrypto" in line}) == 1


def test_further_processes_have_a_container_of_their_own(stack: Stack, tmp_path: Path) -> None:
    words = "from django.db import connection; connection.ensure_connection(); print('connected', flush=True)"
    words += "; import time; time.sleep(600)"
    description = tmp_path / "lowtide.toml"
    text = (CHECKOUT / "app/lowtide.toml").read_text().partition("\n[processes]")[0]
    description.write_text(f"{text}\n[processes]\nclock = '''manage.py shell -v 0 -c \"{words}\"'''\n")
    tmp_path.chmod(0o755)
    overlay = tmp_path / "overlay.json"
    mounted = [f"{description}:/srv/lowtide/app/lowtide.toml:ro"]
    overlay.write_text(json.dumps({"services": {"processes": {"volumes": mounted}}}))
    options = ("--file", str(overlay), "--profile", "processes")
    try:
        # As `make up` waits for it.
        stack.compose(*options, "up", "--detach", "--wait", "--no-deps", "processes")
        wait_until("it has the database", lambda: "connected" in stack.compose(*options, "logs", "processes").stdout)
        stack.compose(*options, "stop", "--timeout", "60", "processes")
        container = stack.compose(*options, "ps", "--all", "--quiet", "processes").stdout.strip()
        state = json.loads(run("docker", "inspect", container).stdout)[0]["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False)
    finally:
        stack.compose(*options, "rm", "--stop", "--force", "processes", check=False)


def test_health_check_notices_workers_that_hang(healthy: Stack) -> None:
    signal_workers = (
        "import os; from lowtide.sample import stats;"
        "pids = [worker['pid'] for worker in stats('/run/lowtide/stats.sock')['workers']];"
        "[os.kill(pid, {}) for pid in pids]; print(len(pids))"
    )

    def health() -> str:
        status: str = healthy.inspect("app")["State"]["Health"]["Status"]
        return status

    assert health() == "healthy"
    stop, go_on = 19, 18
    assert int(healthy.python(signal_workers.format(stop))) == 4
    try:
        wait_until("unhealthy", lambda: health() == "unhealthy", 40)
    finally:
        healthy.python(signal_workers.format(go_on))
    wait_until("healthy", lambda: health() == "healthy")


def test_crashed_application_comes_back(healthy: Stack) -> None:
    before = healthy.inspect("app")["RestartCount"]
    # uWSGI ends at once on SIGINT. Docker has not asked for that, so to Docker it is a crash.
    healthy.execute("app", "python", "-c", "import os; os.kill(1, 2)", check=False)
    wait_until("restarted", lambda: healthy.inspect("app")["RestartCount"] == before + 1)
    wait_until("answers", lambda: healthy.get("/healthz").status_code == 200)


class Upload(threading.Thread):
    """A POST that sends the second half of its body only after `go_on`. `status` is known after `join`."""

    def __init__(self, stack: Stack, row: Request, body: bytes) -> None:
        super().__init__(daemon=True)
        self.port, self.row, self.body = stack.port, row, body
        self.half_sent, self.go_on = threading.Event(), threading.Event()
        self.status: int | str = "no answer"

    def run(self) -> None:
        half = len(self.body) // 2
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.putrequest(self.row.method, self.row.path)
            for name, value in described.headers(self.row).items():
                connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(self.body)))
            connection.endheaders(self.body[:half])
            self.half_sent.set()
            self.go_on.wait(60)
            connection.send(self.body[half:])
            self.status = connection.getresponse().status
        except OSError as error:
            self.status = repr(error)
        finally:
            connection.close()


def test_stop_lets_an_upload_finish(healthy: Stack, feed: bytes) -> None:
    upload = Upload(healthy, described.large(), feed)
    upload.start()
    assert upload.half_sent.wait(30)
    stopping = threading.Thread(target=healthy.compose, args=("stop",))
    stopping.start()
    try:
        # nginx takes no new connections from here on, so it has begun to stop.
        wait_until("nginx is stopping", lambda: refused(healthy.port))
    finally:
        upload.go_on.set()
        upload.join()
        stopping.join()
    assert upload.status == 200
    # Exit code 137 would mean that Docker killed it at the end of the grace period.
    codes = {service: healthy.inspect(service)["State"]["ExitCode"] for service in SERVICES}
    assert codes == dict.fromkeys(SERVICES, 0)


def refused(port: int) -> bool:
    """Whether nothing listens behind Docker's published port: Docker's proxy then closes it without an answer."""
    with socket.socket() as connection:
        connection.settimeout(2)
        try:
            connection.connect(("127.0.0.1", port))
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
            return not connection.recv(1)
        except OSError:
            return True


def test_stopped_application_finishes_its_request(healthy: Stack, feed: bytes) -> None:
    # An import that is written to the database takes long enough to be caught in the middle; a dry run does not.
    upload = Upload(healthy, described.writing(), feed)
    upload.go_on.set()
    upload.start()
    # Busy in two looks in a row, because the request of a health check is over in a millisecond.
    busy = (
        "import time; from lowtide.sample import stats;"
        "look = lambda: {w['id'] for w in stats('/run/lowtide/stats.sock')['workers'] if w['status'] == 'busy'};"
        "first = look(); time.sleep(0.1); print(bool(first & look()))"
    )
    wait_until("the import runs", lambda: healthy.python(busy) == "True")
    healthy.compose("stop", "app")
    state = healthy.inspect("app")["State"]
    upload.join()
    assert upload.status == 200
    assert state["ExitCode"] == 0


@pytest.mark.night
def test_it_starts_when_nginx_is_unhealthy_because_the_application_was_away(healthy: Stack, tmp_path: Path) -> None:
    """nginx's check comes so rarely that the application is back before the next one, as users' checks do."""
    overlay = tmp_path / "slow.yml"
    overlay.write_text("services: {nginx: {healthcheck: {interval: 15s, retries: 1}}}")
    stack = Stack(healthy.port, overlay)
    Docker.up(stack)
    stack.compose("stop", "app")
    wait_until("nginx is unhealthy", lambda: stack.inspect("nginx")["State"]["Health"]["Status"] == "unhealthy")
    assert "answers at" in Docker.up(stack)


LARGE_REQUESTS = 40


def oom(stack: Stack) -> tuple[int, int]:
    """OOM kills and restarts of the application's container. A restart sets the kernel's counter of kills to 0."""
    killed = int(stack.python("from lowtide import memory; print(memory.oom_kills())"))
    restarts: int = stack.inspect("app")["RestartCount"]
    return killed, restarts


def inflate(stack: Stack, feed: bytes, enough: Callable[[], bool]) -> list[int]:
    """Statuses of large imports, sent one at a time until the condition holds or LARGE_REQUESTS have been sent."""
    statuses: list[int] = []
    while len(statuses) < LARGE_REQUESTS and not enough():
        row = described.large()
        headers = described.headers(row)
        answer = requests.request(row.method, stack.url + row.path, data=feed, headers=headers, timeout=60)
        statuses.append(answer.status_code)
    return statuses


def test_four_inflated_workers_are_killed_without_worker_management_only(healthy: Stack, feed: bytes) -> None:
    shipped = healthy.env | {"APP_MEMORY": "400m"}
    healthy.env = shipped | variants.VARIANTS["without"].environment
    healthy.up()
    assert oom(healthy) == (0, 0)
    inflate(healthy, feed, lambda: oom(healthy) != (0, 0))
    assert oom(healthy) != (0, 0), "nothing was killed: the inflation was not reproduced"

    def reasons() -> set[str]:
        """As the experiment reads them."""
        lines = healthy.tell("logs", "--no-log-prefix", "--no-color", "app").splitlines()
        return {end["reason"] for end in recycles.uwsgi_lines(lines)}

    wait_until("the log says why", lambda: "oom" in reasons())

    healthy.env = shipped
    healthy.up()
    assert oom(healthy) == (0, 0)
    assert inflate(healthy, feed, lambda: False) == [200] * LARGE_REQUESTS
    assert oom(healthy) == (0, 0)


# Tables of the kernel: address and port in hexadecimal, 0A is LISTEN. Docker's own resolver listens on loopback.
LISTENING = (
    "cat /proc/net/tcp /proc/net/tcp6 | while read -r _ local _ state _; do "
    '[ "$state" != 0A ] || [ "${local%:*}" = 0B00007F ] || echo "${local##*:}"; done | sort -u'
)


def test_nothing_listens_that_need_not(stack: Stack) -> None:
    ports = {}
    for service in SERVICES:
        shell = stack.execute(service, "bash", "-c", LISTENING).stdout.split()
        ports[service] = [int(port, 16) for port in shell]
    assert ports == {"nginx": [8080], "app": [], "db": [5432]}
    # Only its own user may read uWSGI's figures, only nginx's group the application's sockets, only nginx the gates.
    listed = stack.execute("app", "bash", "-c", "cd /run/lowtide; stat -c '%n %a' *.sock nginx").stdout
    assert dict(line.split() for line in listed.splitlines()) == {
        "large.sock": "660",
        "small.sock": "660",
        "stats.sock": "600",
        "nginx": "700",
    }


# Prints the open ports of each host.
SCAN = """
import errno, socket, sys
for host in sys.argv[2:]:
    for port in range(1, int(sys.argv[1])):
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((host, port)) == 0:
                print(host, port)
"""


@pytest.mark.night
def test_a_scan_of_ten_thousand_ports_finds_two(stack: Stack) -> None:
    """From containers on the same networks; from elsewhere neither of the two answers."""
    addresses = {}
    for service in SERVICES:
        (network,) = stack.inspect(service)["NetworkSettings"]["Networks"].values()
        addresses[service] = network["IPAddress"]
    image = f"{described.NAME}-app"

    def scan(network: str, last: int, *services: str) -> list[str]:
        hosts = [addresses[service] for service in services]
        done = run("docker", "run", "--rm", "--network", network, image, "python", "-c", SCAN, str(last + 1), *hosts)
        assert done.returncode == 0, done.stderr
        names = {address: service for service, address in addresses.items()}
        return [f"{names[line.split()[0]]} {line.split()[1]}" for line in done.stdout.splitlines()]

    assert scan(f"{stack.project}_front", 10_000, "nginx") == ["nginx 8080"]
    assert scan(f"{stack.project}_data", 10_000, "app", "db") == ["db 5432"]
    # A container of another project reaches neither: the engine drops what comes from another network.
    look = "import socket; [print(p) for h, p in {} if socket.socket().connect_ex((h, p)) == 0]"
    pairs = [(addresses["nginx"], 8080), (addresses["db"], 5432)]
    elsewhere = run(
        "docker",
        "run",
        "--rm",
        image,
        "python",
        "-c",
        f"import socket; socket.setdefaulttimeout(3); {look.format(pairs)}",
    )
    assert (elsewhere.returncode, elsewhere.stdout) == (0, "")
    # From this machine, at the port of .env and on loopback only.
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", stack.port)) != 0
