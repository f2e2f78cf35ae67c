"""The experiment's requests from what a site was really asked.

That is in an access log of this stack, of nginx or of an ALB, or in a HAR file. Requests for the same are one kind, and
its weight is how often it came. A log has no bodies, so a body of the recorded size is made; a HAR file has them. Left
out is what says nothing of memory (static files, health checks, failures) and, unless it is asked for, what may change
data.
"""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lowtide.application import Application, Invalid, Request

# Most kinds in each lane: the rest of a long tail adds rows to tables and nothing to memory.
MOST = {"small": 200, "large": 20}
# nginx calls a body of this many bytes or more large (nginx/nginx.conf.template).
LARGE_BYTES = 1_000_000
SAFE = ("GET", "HEAD", "OPTIONS")
METHODS = (*SAFE, "POST", "PUT", "PATCH", "DELETE")
_REQUEST = r'"(?P<method>[A-Z]+) (?P<uri>\S+) [^"]*"'
COMBINED = re.compile(rf"\S+ \S+ .*?\[[^\]]+\] {_REQUEST} (?P<status>\d{{3}}) ")
ALB = re.compile(
    rf"(?:https?|h2|wss?|grpcs) \S+ \S+ \S+ \S+ \S+ \S+ \S+ (?P<status>\d{{3}}) \S+ (?P<bytes>\d+) \d+ {_REQUEST}"
)


@dataclass(frozen=True)
class Seen:
    """One request as it was recorded. `size` is that of its body, where the record knows it."""

    method: str
    uri: str
    status: int
    size: int = 0
    body: str = ""
    content_type: str = ""


@dataclass
class Recording:
    """What was made of a file; `left_out` counts what is not sent, by why."""

    requests: tuple[Request, ...] = ()
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    def words(self, name: str) -> str:
        lanes = Counter(row.lane for row in self.requests)
        out = ", ".join(f"{count:,} {why}" for why, count in self.left_out.most_common())
        return (
            f"From {name}: {self.sent:,} requests, {lanes['small']} kinds of small and {lanes['large']} of large ones."
            + (f" Left out: {out}." if out else "")
        )


def read(file: Path, described: Application, writes: bool) -> Recording:
    """The requests of a file.

    Raises:
        Invalid: it cannot be read, is in none of the known forms, or has no small or no large request.
    """
    made = Recording()
    counts: Counter[Seen] = Counter()
    for seen in har(file) if file.name.endswith(".har") else lines(file):
        if why := reason(seen, described, writes):
            made.left_out[why] += 1
        else:
            counts[seen] += 1
    rows: list[Request] = []
    for lane, most in MOST.items():
        kinds = [(seen, count) for seen, count in counts.most_common() if lane_of(seen, described) == lane]
        made.left_out["of rare kinds"] += sum(count for _, count in kinds[most:])
        made.sent += sum(count for _, count in kinds[:most])
        rows += [row(seen, count, lane, number) for number, (seen, count) in enumerate(shares(kinds[:most], lane), 1)]
    made.left_out = +made.left_out
    made.requests = tuple(rows)
    for lane in MOST:
        if lane not in {request.lane for request in rows}:
            hint = "name paths that need much memory under `large`" if lane == "large" else "record ordinary pages too"
            raise Invalid(f"FROM={file} has no {lane} request that can be sent: {hint}. {made.words(file.name)}")
    return made


def shares(kinds: list[tuple[Seen, int]], lane: str) -> list[tuple[Seen, int]]:
    """The weights. The large lane sends few requests, so its weights are small numbers."""
    total = sum(count for _, count in kinds)
    return [(seen, max(1, round(20 * count / total)) if lane == "large" else count) for seen, count in kinds]


def row(seen: Seen, weight: int, lane: str, number: int) -> Request:
    path = seen.uri.replace("{", "{{").replace("}", "}}")
    shown = seen.uri if len(seen.uri) <= 60 else f"{seen.uri[:50]}... ({number})"
    body = seen.body or "x" * seen.size
    headers = {"Content-Type": seen.content_type or "application/octet-stream"} if body else {}
    # Braces in a name or a header would be placeholders.
    name = re.sub("[{}]", "_", f"{seen.method} {shown} {seen.status}")
    escaped = {key: value.replace("{", "{{").replace("}", "}}") for key, value in headers.items()}
    return Request(
        path=path,
        method=seen.method,
        headers=escaped,
        body=body,
        status=seen.status,
        name=name,
        lane=lane,
        weight=weight,
    )


def reason(seen: Seen, described: Application, writes: bool) -> str:
    """Why a request is not sent; empty if it is."""
    path = seen.uri.partition("?")[0]
    if not seen.uri.startswith("/") or seen.method not in METHODS:
        return "of no method or path"
    if path.startswith("/static/") or path in {"/healthz", "/readyz", described.live, described.ready}:
        return "for static files and health checks"
    if seen.method not in SAFE and not writes:
        return "that may change data (WRITES=1 sends them)"
    if seen.status >= 400 and seen.status != 404:
        return "that were refused or failed"
    return ""


def lane_of(seen: Seen, described: Application) -> str:
    """As nginx chooses a pool."""
    path = seen.uri.partition("?")[0]
    large = seen.size >= LARGE_BYTES or any(fnmatchcase(path, pattern) for pattern in described.large)
    return "large" if large else "small"


def lines(file: Path) -> Iterator[Seen]:
    """The requests of a log, which may be packed with gzip.

    Raises:
        Invalid: it cannot be read, or more lines are unknown than known.
    """
    known, unknown, first = 0, 0, 0
    try:
        with gzip.open(file, "rt", errors="replace") if file.suffix == ".gz" else file.open(errors="replace") as log:
            for number, line in enumerate(log, 1):
                if seen := of_line(line):
                    known += 1
                    yield seen
                elif line.strip():
                    unknown, first = unknown + 1, first or number
    except OSError as error:
        raise Invalid(f"FROM={file} cannot be read: {error.strerror or error}.") from None
    if unknown >= known:
        raise Invalid(
            f"FROM={file} cannot be used: line {first or 1} is none of an access log of this stack, of nginx "
            "(combined) or of an ALB. A HAR file's name ends in .har."
        )


def of_line(line: str) -> Seen | None:
    if '"uri":' in line:
        try:
            entry = json.loads(line[line.index("{") :])
            size = int(entry["request_bytes"]) if entry["method"] not in SAFE else 0
            return Seen(entry["method"], entry["uri"], int(entry["status"]), size)
        except (KeyError, ValueError, TypeError):
            return None
    if entry := ALB.match(line):
        parts = urlsplit(entry["uri"])
        uri = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        size = int(entry["bytes"]) if entry["method"] not in SAFE else 0
        return Seen(entry["method"], uri, int(entry["status"]), size)
    if entry := COMBINED.match(line):
        return Seen(entry["method"], entry["uri"], int(entry["status"]))
    return None


def har(file: Path) -> Iterator[Seen]:
    """The requests of a HAR file, with their bodies.

    Raises:
        Invalid: it cannot be read, or is no HAR.
    """
    try:
        entries = json.loads(file.read_text())["log"]["entries"]
        seen = [of_entry(entry) for entry in entries]
    except OSError as error:
        raise Invalid(f"FROM={file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Invalid(f"FROM={file} is no HAR file: a browser's developer tools export one.") from None
    yield from seen


def of_entry(entry: dict[str, Any]) -> Seen:
    request = entry["request"]
    parts = urlsplit(request["url"])
    posted = request.get("postData") or {}
    body = str(posted.get("text") or "")
    return Seen(
        str(request["method"]),
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        int(entry["response"]["status"]),
        len(body.encode()) or max(0, int(request.get("bodySize") or 0)),
        body,
        str(posted.get("mimeType") or ""),
    )
