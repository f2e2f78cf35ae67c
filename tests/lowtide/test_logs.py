"""A long line is written in pieces, and the pipe may fill between two of them."""

import fcntl
import os

from lowtide.logs import Lines


def test_a_line_that_does_not_fit_has_an_end() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2 * 4096)
    mine, theirs = Lines(writing), Lines(writing)
    print("first", file=mine)
    print("a" * 10_000, file=mine)
    assert os.read(reading, 1 << 16).endswith(b"a\n")
    print("second", file=theirs)
    print("third", file=mine)
    *dropped, third = os.read(reading, 1 << 16).decode().splitlines()
    assert third == "third"
    assert dropped[0] == "second"
    assert '"lines": 1}' in dropped[1]
    os.close(reading)
    os.close(writing)


def test_a_line_gets_its_end_later_if_not_at_once() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    lines = Lines(writing)
    lines._torn = True
    print("next", file=lines)
    assert os.read(reading, 1 << 16) == b"\nnext\n"
    os.close(reading)
    os.close(writing)
