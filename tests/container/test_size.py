"""The numbers that `lowtide size` recommends hold at three limits. With 60 % of the memory they fail as it warns."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from lowtide import sizing
from lowtide.application import Call
from tests import described
from tests.container.stack import Stack

pytestmark = pytest.mark.container

PAGE = Call(path=described.PAGE)
LARGE_REQUESTS = 10
SMALL_AFTER_EACH = 20
FEWER = 0.6
# Workers, how many of them for large requests, and the limit in MiB; None is the least that carries them.
SETTINGS = {"smallest": (2, 1, None), "middle": (3, 2, None), "large, one pool": (4, 0, None)}


class Sized(Stack):
    """The stack's own project, with recommended numbers."""

    def __init__(self, stack: Stack, overlay: Path) -> None:
        super().__init__(stack.port)
        self.overlay = overlay
        self.env["SECRETS_DIR"] = str(stack.secrets_folder)

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return super().compose("--file", str(self.overlay), *words, check=check)

    def start(self, sizing: sizing.Sizing, memory_mb: int) -> bool:
        """Whether the site came up. Options that uwsgi.ini does not take from variables are added to the command."""
        self.env |= {
            "WORKERS": str(sizing.workers),
            "LARGE_WORKERS": str(sizing.large_workers),
            "RELOAD_ON_RSS": str(sizing.reload_on_rss_mb),
            "LARGE_NEED_MB": str(sizing.need_mb),
            "APP_MEMORY": f"{memory_mb}m",
        }
        command = ["python", "-m", "lowtide.start", "uwsgi", "--ini", "/srv/lowtide/uwsgi.ini"]
        command += ["--max-worker-lifetime-delta", str(sizing.max_worker_lifetime_delta_s)]
        self.overlay.write_text(json.dumps({"services": {"app": {"command": command}}}))
        came_up = self.compose("up", "--detach", "--wait", "--wait-timeout", "40", check=False)
        return came_up.returncode == 0

    def status(self, call: Call, body: bytes | None = None) -> int | str:
        """The status of one request, or what went wrong."""
        try:
            return requests.request(
                call.method,
                self.url + call.path,
                data=body,
                headers=described.headers(call),
                timeout=65,
            ).status_code
        except requests.RequestException as error:
            return repr(error)

    def kills(self) -> tuple[int, int]:
        """OOM kills and restarts of the application's container. A restart sets the kernel's counter of kills to 0."""
        killed = self.execute(
            "app", "python", "-c", "from lowtide import memory; print(memory.oom_kills())", check=False
        )
        restarts: int = self.inspect("app")["RestartCount"]
        return int(killed.stdout.strip() or 0), restarts

    def recycles(self) -> int:
        return len(re.findall(r'"event": "recycle"', self.compose("logs", "app").stdout))


def heaviest() -> Call:
    """The last of the large pages, or the ordinary page where the application has none."""
    return [PAGE, *described.large_pages()][-1]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An import of 23 MB."""
    return described.large_body(tmp_path_factory.mktemp("feed"))


@pytest.fixture(scope="module")
def sized(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sized]:
    sized = Sized(stack, tmp_path_factory.mktemp("size") / "overlay.json")
    try:
        yield sized
    finally:
        stack.up()


@pytest.fixture(scope="module")
def load(sized: Sized, feed: bytes) -> sizing.Load:
    """What `lowtide size` measures of a fresh server while it serves each kind of large request."""
    sized.overlay.write_text('{"services": {}}')
    sized.compose("up", "--detach", "--wait", "--force-recreate", "app")
    # The report needs data.
    assert sized.status(described.writing(), feed) == 200
    sized.compose("restart", "app")
    sized.compose("up", "--detach", "--wait")
    for _ in range(40):
        assert sized.status(PAGE) == 200
    answers: list[dict[str, dict[str, float]]] = []
    watching = threading.Thread(target=lambda: answers.append(watch(sized)))
    watching.start()
    # `lowtide size` has to see the server at rest first.
    time.sleep(3)
    for call, body in ((heaviest(), None), (described.large(), feed)):
        assert sized.status(call, body) == 200
    watching.join()
    measured = answers[0]["measured"]
    return sizing.Load(
        idle_mb=measured["idle_mb"],
        workers=int(measured["workers"]),
        worker_rss_mb=measured["worker_rss_mb"],
        large_mb=measured["large_mb"],
        worker_private_mb=measured["worker_private_mb"],
    )


def watch(sized: Sized) -> dict[str, dict[str, float]]:
    command = "python -m lowtide size --stats /run/lowtide/stats.sock --seconds 10 --format json"
    answer: dict[str, dict[str, float]] = json.loads(sized.execute("app", *command.split()).stdout)
    return answer


def work(sized: Sized, feed: bytes, at_once: int, until_trouble: bool = False) -> list[int | str]:
    """Statuses of LARGE_REQUESTS large requests, `at_once` at a time, and of small ones after each."""
    trouble = threading.Event()

    def one(number: int) -> list[int | str]:
        if trouble.is_set():
            return []
        # To provoke a kill, send only the largest request, and nothing between, so that the peaks coincide.
        report = until_trouble or number // at_once % 2 == 0
        statuses = [sized.status(heaviest()) if report else sized.status(described.large(), feed)]
        statuses += [sized.status(PAGE) for _ in range(0 if until_trouble else SMALL_AFTER_EACH)]
        if until_trouble and statuses != [200] * len(statuses):
            trouble.set()
        return statuses

    with ThreadPoolExecutor(at_once) as pool:
        return [
            status
            for statuses in pool.map(one, range(LARGE_REQUESTS * (8 if until_trouble else 1)))
            for status in statuses
        ]


def test_a_live_server_is_measured(load: sizing.Load) -> None:
    assert load.workers == 4
    # One report adds more memory than its idle worker has, and both figures are well above zero.
    assert 60 < load.idle_mb < 200
    assert 30 < load.worker_rss_mb < load.idle_mb
    assert load.large_mb > 60


@pytest.mark.parametrize("name", SETTINGS)
def test_recommended_numbers_hold(sized: Sized, load: sizing.Load, feed: bytes, name: str) -> None:
    workers, large_workers, limit = SETTINGS[name]
    recommended = sizing.recommend(load, limit, workers, large_workers)
    assert sized.start(recommended, recommended.hard_mb)
    statuses = work(sized, feed, recommended.bound.large_at_once)
    assert statuses == [200] * (LARGE_REQUESTS * (1 + SMALL_AFTER_EACH))
    assert sized.kills() == (0, 0)
    # At most one worker is replaced for each large request. With reload-on-rss below an idle worker, every request
    # would replace one.
    assert sized.recycles() <= LARGE_REQUESTS


@pytest.mark.parametrize("name", SETTINGS)
def test_with_60_percent_of_the_memory_comes_trouble(sized: Sized, load: sizing.Load, feed: bytes, name: str) -> None:
    workers, large_workers, limit = SETTINGS[name]
    recommended = sizing.recommend(load, limit, workers, large_workers)
    fewer = int(recommended.hard_mb * FEWER)
    with pytest.raises(sizing.TooSmall):
        sizing.recommend(load, fewer, workers, large_workers)
    if not sized.start(recommended, fewer):
        # The server refused to start, and said why.
        assert "Refused: the container's limit of" in sized.compose("logs", "app").stdout
        return
    statuses = work(sized, feed, recommended.bound.large_at_once, until_trouble=True)
    killed, restarts = sized.kills()
    # A timeout or a 500 would be a failure too, but not the one of which `lowtide size` warned.
    assert killed or restarts, f"{fewer} MiB carried it: the recommendation is too much ({set(statuses)})"
