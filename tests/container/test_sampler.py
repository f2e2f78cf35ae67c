"""The sampler's PSS beside what the kernel charges the container, while the server answers large requests."""

import csv
import io
import statistics
import time

import pytest
import requests

from tests import described
from tests.container.stack import Stack
from tests.described import headers

pytestmark = [pytest.mark.container, pytest.mark.night]
LARGE_REQUESTS = 6
# The pages of the container that no file stands for: `anon` of cgroup v2, `rss` of v1.
CHARGED = """
import sys, time, pathlib, select
v2, v1 = pathlib.Path("/sys/fs/cgroup/memory.stat"), pathlib.Path("/sys/fs/cgroup/memory/memory.stat")
file, name = (v2, "anon") if v2.exists() else (v1, "total_rss")
while not select.select([sys.stdin], [], [], 0.05)[0]:
    lines = dict(line.split() for line in file.read_text().splitlines())
    print(time.time(), int(lines[name]) / 2**20, sep=",", flush=True)
"""


def test_pss_grows_by_what_the_kernel_charges(stack: Stack, feed: bytes) -> None:
    sample = ["-m", "lowtide.sample", "--stats", "/run/lowtide/stats.sock", "--interval", "0.05"]
    readers = [stack.follow("exec", "-T", "app", "python", *words) for words in (sample, ["-c", CHARGED])]
    row = described.large()
    time.sleep(3)
    start = time.time()
    for _ in range(LARGE_REQUESTS):
        answer = requests.request(row.method, stack.url + row.path, data=feed, headers=headers(row), timeout=60)
        assert answer.status_code == 200
    end = time.time()
    growths = []
    for reader in readers:
        said, _ = reader.communicate(timeout=30)
        points = [(float(line[0]), float(line[1])) for line in csv.reader(io.StringIO(said)) if line[0] != "time"]
        before = [size for at, size in points if start - 1 < at < start]
        during = [size for at, size in points if start < at < end]
        assert before, said
        assert len(during) > 20, said
        growths.append((statistics.median(before), statistics.mean(during)))
    (idle, mean), (charged_idle, charged_mean) = growths
    assert mean > 1.3 * idle, "the large requests took no memory"
    assert mean - idle == pytest.approx(charged_mean - charged_idle, abs=0.05 * mean)
