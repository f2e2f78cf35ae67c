"""The check reads each file of a corpus as a real uWSGI does."""

import os
from pathlib import Path

import pytest

from lowtide.tools.check.compare import as_text, compare, find_uwsgi, load_with
from lowtide.tools.check.files import UnreadableError
from lowtide.tools.check.magic import UNSTABLE
from lowtide.tools.check.options import load_options
from lowtide.tools.check.reader import Option, Reader, Reading

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path.name for path in CORPUS.iterdir() if path.is_file())
ENVIRON = {
    "PATH": os.environ["PATH"],
    "STAGE": "production",
    "NUMBER": "7",
    "EMPTY": "",
    "INDIRECT": "$(STAGE)-%(name-target)",
    "NAME_OF_OPTION": "name-target",
    "UWSGI_BUFFER_SIZE": "8192",
    "UWSGI_UNKNOWN_THING": "x",
    "UWSGI_VASSALS_DIR": "x",
}


def real_uwsgi() -> Path:
    found = find_uwsgi()
    assert found, "these tests need a real uwsgi beside this Python or on PATH"
    return found


def read(target: str, folder: Path = CORPUS, environ: dict[str, str] | None = None) -> Reading:
    return Reader(load_options(), ENVIRON if environ is None else environ, folder).read(target)


def test_the_corpus_covers_the_syntax() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("name", FILES)
def test_loads_what_uwsgi_loads(name: str) -> None:
    loaded, output = load_with(real_uwsgi(), name, ENVIRON, CORPUS)
    assert loaded is not None, output
    assert [as_text(option) for option in read(name).options] == loaded


def test_a_reload_is_seen() -> None:
    environ = {**ENVIRON, "UWSGI_RELOADS": "1"}
    loaded, output = load_with(real_uwsgi(), "if-other.ini", environ, CORPUS)
    assert loaded is not None, output
    assert "processes = 1" in loaded
    assert [as_text(option) for option in read("if-other.ini", environ=environ).options] == loaded


REFUSED = {
    "include-section": ("[uwsgi]\ninclude = other.ini:part\n", "include-refused"),
    "include-missing": ("[uwsgi]\nini = nowhere.ini\n", "include-missing"),
    "block-in-block": ("[uwsgi]\nif-env = STAGE\nfor = a b\nmaster = true\nendfor =\nendif =\n", "block-nested"),
    "placeholder-is-option": ("[uwsgi]\nset-placeholder = processes=3\n", "placeholder-is-option"),
    "set-without-value": ("[uwsgi]\nset = processes\n", "set-without-value"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_notes_where_uwsgi_refuses(name: str, tmp_path: Path) -> None:
    text, kind = REFUSED[name]
    (tmp_path / "uwsgi.ini").write_text(text)
    loaded, _ = load_with(real_uwsgi(), "uwsgi.ini", ENVIRON, tmp_path)
    assert loaded is None
    assert kind in [problem.kind for problem in read("uwsgi.ini", tmp_path).problems]


@pytest.mark.parametrize("name", FILES)
def test_the_command_s_own_comparison_agrees(name: str) -> None:
    result = compare(real_uwsgi(), name, read(name), ENVIRON, CORPUS)
    assert result.skipped or (result.refusal, result.differences) == (None, ())


def test_comparison_sees_a_difference(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\nprocesses = 2\n")
    reading = read("uwsgi.ini", tmp_path)
    reading.options[-1].value = "3"
    assert compare(real_uwsgi(), "uwsgi.ini", reading, ENVIRON, tmp_path).differences == (
        ("processes = 3", "processes = 2"),
    )
    reading.options.append(Option("extra", "", ""))
    assert len(compare(real_uwsgi(), "uwsgi.ini", reading, ENVIRON, tmp_path).differences) == 2


def test_comparison_starts_no_uwsgi_that_would_act(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\nexec-asap = touch {mark}\n")
    result = compare(real_uwsgi(), "uwsgi.ini", read("uwsgi.ini", tmp_path), ENVIRON, tmp_path)
    assert result.skipped
    assert not mark.exists()


def test_comparison_skips_what_changes_from_start_to_start(tmp_path: Path) -> None:
    (tmp_path / "uwsgi.ini").write_text("[uwsgi]\n" + "".join(f"x{c} = %{c}\n" for c in sorted(UNSTABLE)))
    result = compare(real_uwsgi(), "uwsgi.ini", read("uwsgi.ini", tmp_path), ENVIRON, tmp_path)
    assert (result.refusal, result.differences) == (None, ())


HOSTILE = {
    "missing": (None, "no such file"),
    "binary": (b"\x7fELF\0\0\0\1", "NUL"),
    "utf-16": ("[uwsgi]\nmaster = true\n".encode("utf-16"), "NUL"),
    "10-mb": (b"[uwsgi]\n" + b"x = y\n" * 1_700_000, "1 MiB"),
    "includes-itself": (b"[uwsgi]\nini = uwsgi.ini\n", "includes itself"),
    "includes-its-section": (b"[uwsgi]\nini = :a\n[a]\nini = :b\n[b]\nini = :a\n", "includes itself"),
    "inherits-itself": (b"[uwsgi]\ninherit = uwsgi.ini\n", "more than"),
    "includes-explode": (
        b"[uwsgi]\n" + b"ini = :a\n" * 30 + b"[a]\n" + b"ini = :b\n" * 30 + b"[b]\nx = y\n",
        "more than",
    ),
    "expands-for-ever": (b"[uwsgi]\na = x%(a)\n", "for ever"),
    "expands-to-gigabytes": (
        b"[uwsgi]\n"
        + b"".join(b"a%d = %s\n" % (i, b"%%(a%d)" % (i + 1) * 10) for i in range(20))
        + b"a20 = "
        + b"x" * 99,
        "for ever",
    ),
    "too-many-options": (b"[uwsgi]\nfor-times = 1000000000\nx = y\nendfor =\n", "more than"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(60)
def test_hostile_files_are_refused_in_words(name: str, tmp_path: Path) -> None:
    data, words = HOSTILE[name]
    if data is not None:
        (tmp_path / "uwsgi.ini").write_bytes(data)
    with pytest.raises(UnreadableError, match=words) as caught:
        read("uwsgi.ini", tmp_path)
    assert "\n" not in str(caught.value)
    assert "uwsgi.ini" in str(caught.value)


@pytest.mark.parametrize("name", ["folder", "fifo"])
def test_only_regular_files_are_opened(name: str, tmp_path: Path) -> None:
    if name == "folder":
        (tmp_path / "uwsgi.ini").mkdir()
    else:
        os.mkfifo(tmp_path / "uwsgi.ini")
    with pytest.raises(UnreadableError, match="not a regular file"):
        read("uwsgi.ini", tmp_path)


def test_nothing_is_fetched_or_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\nini = exec://touch {mark}\nmodule = @(exec://touch {mark})\n")
    reading = read("uwsgi.ini", tmp_path)
    assert not mark.exists()
    assert [problem.kind for problem in reading.problems] == ["include-not-read"]
