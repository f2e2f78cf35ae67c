"""POST /catalog/import/: products from a feed, in memory (JSON) or line by line (NDJSON).

The two do the same work for each record. They differ in what they hold: JSON is parsed as a whole, so a feed of
23 MB costs several times as much memory; NDJSON costs one batch, whatever its length.
"""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.http import require_POST

from catalog.feed import InvalidRecord, Record, clean
from catalog.upsert import BATCH, upsert
from lowtide.django.access import token_or_permission

# The longest line of NDJSON, in bytes. A valid record needs at most some 120 KB, with every character escaped.
MAX_LINE = 256 * 1024
PART_BYTES = 64 * 1024

Result = dict[str, Any]


class BadFeed(Exception):
    """Nothing of the feed can be used. `details` says what is wrong and where."""

    def __init__(self, status: HTTPStatus, error: str, **details: object) -> None:
        super().__init__(error)
        self.status = status
        self.details = {"error": error, **details}


@token_or_permission("catalog.add_product", "catalog.add_category", "catalog.change_product")
@require_POST
def import_feed(request: HttpRequest) -> HttpResponseBase:
    """Validate a feed and store what is valid, or only validate it with ?dry_run=1.

    Answers 200 with one result for each record: its number in the feed, its sku, a status (created, updated, valid
    or invalid) and the errors by field. An invalid record does not keep out the others. A feed that cannot be read
    at all answers 4xx and stores nothing, except that an NDJSON body that breaks off keeps what came before.
    """
    try:
        dry_run = {None: False, "0": False, "1": True}.get(request.GET.get("dry_run"))
        if dry_run is None:
            raise BadFeed(HTTPStatus.BAD_REQUEST, "dry_run must be 1 or 0")
        if (encoding := request.headers.get("Content-Encoding", "identity")) != "identity":
            raise BadFeed(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding} is not read: send it plain")
        match request.content_type:
            case "application/json":
                return import_json(request, dry_run)
            case "application/x-ndjson":
                return import_ndjson(request, dry_run)
        raise BadFeed(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json or application/x-ndjson"
        )
    except BadFeed as bad:
        drain(request)
        return JsonResponse(bad.details, status=bad.status)


def drain(request: HttpRequest) -> None:
    """Read what is left of the body. uWSGI closes the socket on an unread one, and nginx turns that into a 502."""
    with contextlib.suppress(UnreadablePostError):
        while request.read(PART_BYTES):
            pass


def import_json(request: HttpRequest, dry_run: bool) -> JsonResponse:
    """The whole feed in memory and in one transaction."""
    checked = list(validate(parse_feed(request)))
    if not dry_run:
        store(checked)
    results = [result for result, _ in checked]
    counts = Counter(result["status"] for result in results)
    return JsonResponse({"dry_run": dry_run, "totals": totals(counts), "results": results})


def parse_feed(request: HttpRequest) -> list[object]:
    """The records of a JSON feed: a list, or an object with the list under "products". Raises BadFeed."""
    try:
        feed = json.loads(request.body.decode(), parse_float=parse_fraction, parse_constant=refuse_constant)
    except RequestDataTooBig:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        raise BadFeed(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the feed is larger than {limit} bytes; send application/x-ndjson, or raise MAX_BODY_MB",
            limit=limit,
        ) from None
    except UnreadablePostError:
        raise BadFeed(HTTPStatus.BAD_REQUEST, "the body ended too early") from None
    except UnicodeDecodeError as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not UTF-8: {error.reason}", byte=error.start) from None
    except json.JSONDecodeError as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not JSON: {error.msg}", line=error.lineno, column=error.colno) from None
    except (ValueError, RecursionError) as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not usable as JSON: {error}") from None
    records = feed.get("products") if isinstance(feed, dict) else feed
    if not isinstance(records, list):
        raise BadFeed(HTTPStatus.BAD_REQUEST, 'a feed is a list of products, or {"products": [...]}')
    return records


def import_ndjson(request: HttpRequest, dry_run: bool) -> StreamingHttpResponse:
    """One record a line, in and out, and the totals in the last line. Each batch is a transaction of its own.

    The answer waits in a file until the body has been read: nginx stops sending a body once an answer begins.
    """
    answer = SpooledTemporaryFile(max_size=PART_BYTES)  # noqa: SIM115 - parts() closes it
    counts: Counter[str] = Counter()
    checked = validate(parse_lines(request))
    try:
        while batch := list(itertools.islice(checked, BATCH)):
            if not dry_run:
                store(batch)
            counts.update(result["status"] for result, _ in batch)
            answer.writelines(json_line(result) for result, _ in batch)
    except UnreadablePostError:
        raise BadFeed(HTTPStatus.BAD_REQUEST, "the body ended too early", totals=totals(counts)) from None
    answer.write(json_line({"dry_run": dry_run, "totals": totals(counts)}))
    return StreamingHttpResponse(parts(answer), content_type="application/x-ndjson")


def parts(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its beginning, PART_BYTES at a time. Closes it."""
    with file:
        file.seek(0)
        while part := file.read(PART_BYTES):
            yield part


def parse_lines(request: HttpRequest) -> Iterator[object]:
    """What each line of the body holds, or the InvalidRecord that it is. Holds one line of at most MAX_LINE bytes."""
    while line := request.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := request.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield InvalidRecord({"record": f"is longer than {MAX_LINE} bytes"})
            continue
        if not line.strip():
            continue
        try:
            yield json.loads(line.decode().rstrip(), parse_float=parse_fraction, parse_constant=refuse_constant)
        except UnicodeDecodeError as error:
            yield InvalidRecord({"record": f"is not UTF-8: {error.reason} at byte {error.start}"})
        except json.JSONDecodeError as error:
            yield InvalidRecord({"record": f"is not JSON: {error.msg} at column {error.colno}"})
        except (ValueError, RecursionError) as error:
            yield InvalidRecord({"record": f"is not usable as JSON: {error}"})


def validate(records: Iterable[object]) -> Iterator[tuple[Result, Record | None]]:
    """For each record its result so far (valid or invalid), and the record to store where it is valid."""
    for number, raw in enumerate(records, start=1):
        sku = raw.get("sku") if isinstance(raw, dict) else None
        result: Result = {"record": number, "sku": sku if isinstance(sku, str) else None}
        try:
            if isinstance(raw, InvalidRecord):
                raise raw
            record = clean(raw)
        except InvalidRecord as invalid:
            yield result | {"status": "invalid", "errors": invalid.errors}, None
        else:
            yield result | {"sku": record.sku, "status": "valid", "errors": {}}, record


def store(checked: list[tuple[Result, Record | None]]) -> None:
    """Store every valid record, and turn its result's status into created or updated."""
    created = upsert(record for _, record in checked if record)
    for result, record in checked:
        if record:
            result["status"] = "created" if record.sku in created else "updated"
            created.discard(record.sku)


def parse_fraction(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:40]} is beyond any number") from None


def refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity as numbers; JSON has no such thing."""
    raise ValueError(f"{name} is not a number")


def totals(counts: Counter[str]) -> dict[str, int]:
    return {"records": counts.total()} | {
        status: counts[status] for status in ("created", "updated", "valid", "invalid")
    }


def json_line(data: object) -> bytes:
    return json.dumps(data).encode() + b"\n"
