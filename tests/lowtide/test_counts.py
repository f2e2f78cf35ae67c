"""The counters that workers share."""

import os
from pathlib import Path

import pytest

from lowtide import counts


def test_workers_count_for_themselves_and_a_reader_adds_up(tmp_path: Path) -> None:
    shared = counts.Counts(2, tmp_path / "counts")
    child = os.fork()
    if not child:
        shared.add(2, "rss", 3)
        os._exit(0)
    os.waitpid(child, 0)
    shared.add(1, "rss")
    shared.add(1, counts.GIVEN_BACK_BYTES, 2**40)
    counted = counts.read(tmp_path / "counts")
    assert (counted["rss"], counted[counts.GIVEN_BACK_BYTES], counted["died"]) == (4, 2**40, 0)
    assert counts.last_reasons(tmp_path / "counts") == ["rss", "rss"]


def test_the_latest_reason_is_kept_for_each_worker(tmp_path: Path) -> None:
    shared = counts.Counts(2, tmp_path / "counts")
    shared.add(1, "oom")
    shared.add(1, "requests")
    shared.add(1, counts.GIVE_BACKS)
    assert counts.last_reasons(tmp_path / "counts") == ["requests", ""]


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "counts").write_bytes(b"counts-0" + bytes(100))
    with pytest.raises(ValueError, match="does not hold the counters"):
        counts.read(tmp_path / "counts")
