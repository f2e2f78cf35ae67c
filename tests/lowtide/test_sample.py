"""The sampler on a server that has no statistics."""

import json
import os
import subprocess
import sys

from lowtide import memory


def sampled(pid: int) -> tuple[str, str]:
    """What the sampler prints. Its standard input is closed from the start, so it ends after the first sample."""
    command = [sys.executable, "-m", "lowtide.sample", "--pid", str(pid)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout, done.stderr


def test_a_process_tree_by_its_pid() -> None:
    with subprocess.Popen([sys.executable, "-c", "x = b'x' * (50 << 20); input()"], stdin=subprocess.PIPE) as child:
        out, _ = sampled(os.getpid())
        heading, line = out.splitlines()
        assert heading == "time,pss_mb,working_set_mb,oom_kills,requests,workers"
        _, pss_mb, *others = line.split(",")
        assert others == ["", "", "", ""]
        assert float(pss_mb) > memory.pss_mb(os.getpid())
        child.communicate(b"\n")


def test_one_look_names_the_workers() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        command = [sys.executable, "-m", "lowtide.sample", "--pid", str(parent.pid), "--once"]
        look = json.loads(subprocess.run(command, capture_output=True, timeout=20, check=True).stdout)
        (worker,) = look["workers"]
        assert [worker["pid"]] == memory.children(parent.pid)
        assert worker["rss_mb"] > 5
        assert look["pss_mb"] > memory.pss_mb(worker["pid"])
        parent.communicate(b"\n")


def test_a_process_that_has_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    out, error = sampled(gone.pid)
    assert len(out.splitlines()) == 1
    assert error.startswith(f"No sample: {gone.pid}: ")
    command = [sys.executable, "-m", "lowtide.sample", "--pid", str(gone.pid), "--once"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{gone.pid}: there is no process {gone.pid}\n")


def test_one_of_stats_and_pid() -> None:
    done = subprocess.run([sys.executable, "-m", "lowtide.sample"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "one of the arguments --stats --pid is required" in done.stderr
