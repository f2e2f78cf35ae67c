"""Requests from an access log or a HAR file: each form is read, classified as nginx does, and a mistake is one line."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.load import recorded, scenarios
from lowtide.application import Application, Invalid
from tests.described import APPLICATION

DESCRIBED = replace(APPLICATION, large=("/export*",), live="/alive", ready="/ready")
NGINX = '10.0.0.1 - ada [26/Nov/2026:10:00:00 +0000] "{} {} HTTP/1.1" {} 612 "-" "Mozilla/5.0 (X11) [x]"\n'
ALB = (
    'https 2026-11-26T10:00:00.186641Z app/site/50dc 192.0.2.1:2817 10.0.0.1:80 0.086 0.048 0.037 {2} {2} {3} 57 "{0} '
    'https://shop.example:443{1} HTTP/1.1" "curl/7.46.0" ECDHE TLSv1.2 arn:aws:x "Root=1-58337281" "-" "-" 1 - "-"\n'
)


def ours(method: str, uri: str, status: int, size: int) -> str:
    entry = {"time": "x", "method": method, "uri": uri, "status": status, "request_bytes": size, "pool": "small"}
    return f"nginx-1  | {json.dumps(entry)}\n"


def nginx(method: str, uri: str, status: int, size: int) -> str:
    return NGINX.format(method, uri, status)


def alb(method: str, uri: str, status: int, size: int) -> str:
    return ALB.format(method, uri, status, size)


ASKED: tuple[tuple[str, str, int, int], ...] = (
    *[("GET", "/?page={2}", 200, 90)] * 30,
    *[("GET", "/export.csv", 200, 90)] * 3,
    ("GET", "/gone/", 404, 90),
    ("GET", "/old", 301, 90),
    ("POST", "/import/", 200, 1_500_000),
    ("POST", "/cart/", 302, 40),
    ("GET", "/static/x.css", 200, 90),
    ("GET", "/alive", 200, 90),
    ("GET", "/account/", 403, 90),
    ("GET", "/broken/", 500, 90),
)


def read(file: Path, writes: bool = False, described: Application = DESCRIBED) -> recorded.Recording:
    return recorded.read(file, described, writes)


@pytest.mark.parametrize("form", [ours, nginx, alb])
@pytest.mark.parametrize("packed", [False, True])
def test_a_log_is_read_and_classified(form: Any, packed: bool, tmp_path: Path) -> None:
    text = "".join(form(*asked) for asked in ASKED) + "a line that was cut\n"
    file = tmp_path / ("access.log.gz" if packed else "access.log")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    made = read(file)
    assert [(row.name, row.lane, row.weight, row.status) for row in made.requests] == [
        ("GET /?page=_2_ 200", "small", 30, 200),
        ("GET /gone/ 404", "small", 1, 404),
        ("GET /old 301", "small", 1, 301),
        ("GET /export.csv 200", "large", 20, 200),
    ]
    assert made.requests[0].path.format_map({}) == "/?page={2}"
    assert made.sent == 35
    assert made.left_out == {
        "that may change data (WRITES=1 sends them)": 2,
        "for static files and health checks": 2,
        "that were refused or failed": 2,
    }
    assert "Left out: 2 that may change data" in made.words("access.log")


def test_what_changes_data_is_sent_when_told_with_bodies_of_the_recorded_size(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text("".join(ours(*asked) for asked in ASKED))
    rows = {row.name: row for row in read(file, writes=True).requests}
    assert (rows["POST /import/ 200"].lane, len(rows["POST /import/ 200"].body)) == ("large", 1_500_000)
    assert (rows["POST /cart/ 302"].lane, len(rows["POST /cart/ 302"].body)) == ("small", 40)


def test_a_har_file_has_the_bodies(tmp_path: Path) -> None:
    def entry(method: str, url: str, **posted: Any) -> dict[str, Any]:
        return {"request": {"method": method, "url": url, **posted}, "response": {"status": 200}}

    posted = {"postData": {"mimeType": "application/json", "text": '{"a": 1}'}, "bodySize": 8}
    entries = [
        entry("GET", "https://shop.example/?q=oak"),
        entry("GET", "https://shop.example"),
        entry("POST", "https://shop.example/export/", **posted),
    ]
    file = tmp_path / "visit.har"
    file.write_text(json.dumps({"log": {"entries": entries}}))
    made = read(file, writes=True)
    assert [(row.path, row.lane) for row in made.requests] == [
        ("/?q=oak", "small"), ("/", "small"), ("/export/", "large")
    ]  # fmt: skip
    assert made.requests[2].body == '{"a": 1}'
    assert made.requests[2].headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("access.log", None, "cannot be read: No such file or directory."),
        ("access.log", "hello\nworld\n", "cannot be used: line 1 is none of an access log of this stack, of nginx"),
        ("access.log", "", "cannot be used: line 1 is none of"),
        ("visit.har", "{}", "is no HAR file: a browser's developer tools export one."),
        ("access.log.gz", "not packed", "cannot be read: Not a gzipped file"),
        ("access.log", nginx("GET", "/", 200, 0), "has no large request that can be sent: name paths that need much"),
    ],
)
def test_what_cannot_be_used_is_one_line(name: str, text: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(Invalid) as refused:
        read(file)
    assert str(refused.value).startswith(f"FROM={file} ")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_experiment_sends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "access.log"
    file.write_text(ours("GET", "/here/", 200, 0) * 3 + ours("POST", "/big/", 200, 1_500_000))
    monkeypatch.setenv("LOADTEST_WRITES", "1")
    monkeypatch.setenv("LOADTEST_FROM", str(file))
    scenarios.recording.cache_clear()
    try:
        scenario = scenarios.SCENARIOS["smoke"]
        assert {asked.path for asked in scenarios.requests(scenario, "small", 1)} == {"/here/"}
        assert {asked.path for asked in scenarios.requests(scenario, "large", 1)} == {"/big/"}
    finally:
        scenarios.recording.cache_clear()
