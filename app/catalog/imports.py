"""POST /catalog/import/: products from a feed, in memory (JSON) or line by line (NDJSON).

The two do the same work for each record, but need different amounts of memory. JSON is parsed as a whole, so a feed of
23 MB takes several times as much. NDJSON takes the memory of one batch, however long the feed is.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.http import require_POST

from catalog.feed import MAX_SKU, InvalidRecord, Record, clean
from catalog.upsert import BATCH, one_at_a_time, upsert
from lowtide.django.access import token_or_permission

# The most records of a feed, or lines of NDJSON. The answer has a result for each, so this bounds the answer too.
MAX_RECORDS = 100_000
# The answer has the errors of this many invalid records. Of further ones it only says that they are invalid.
MAX_TOLD = 1_000
# The longest line of NDJSON, in bytes. A valid record needs at most some 120 KB, with every character escaped.
MAX_LINE = 256 * 1024
# The most values (numbers, texts, lists, objects) of a JSON feed. In memory each takes up to 200 bytes, however short
# it is in the body. BYTES_PER_VALUE is below that of the shortest valid record, which has twelve bytes for each value.
MAX_VALUES = 1_000_000
BYTES_PER_VALUE = 8
FEW_VALUES = 10_000
PART_BYTES = 64 * 1024

# A text in JSON, also one without an end. The expression never backtracks, so its time is in proportion to the length.
json_texts = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL).finditer

Result = dict[str, Any]
# What a record's result is so far, and the record to store where it is valid.
Checked = tuple[Result, Record | None]


class BadFeed(Exception):
    """The feed as a whole cannot be used. `details` says what is wrong and where."""

    def __init__(self, status: HTTPStatus, error: str, **details: object) -> None:
        super().__init__(error)
        self.status = status
        self.details = {"error": error, **details}


@token_or_permission("IMPORT_TOKEN", "catalog.add_product", "catalog.add_category", "catalog.change_product")
@require_POST
def import_feed(request: HttpRequest) -> HttpResponseBase:
    """Validate a feed and store what is valid, or only validate it with ?dry_run=1.

    Answers 200 with one result for each record: its number in the feed, its sku, a status (created, updated, valid
    or invalid) and the errors by field. The other records are stored even if one is invalid. A feed that cannot be read
    to its end answers 4xx and stores nothing. Sending a feed again changes nothing.
    """
    try:
        dry_run = {None: False, "0": False, "1": True}.get(request.GET.get("dry_run"))
        if dry_run is None:
            raise BadFeed(HTTPStatus.BAD_REQUEST, "dry_run must be 1 or 0")
        if (encoding := request.headers.get("Content-Encoding", "identity")) != "identity":
            raise BadFeed(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding {encoding[:40]} is not read: send it plain"
            )
        match request.content_type:
            case "application/json":
                return import_json(request, dry_run)
            case "application/x-ndjson":
                return import_ndjson(request, dry_run)
        raise BadFeed(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json or application/x-ndjson"
        )
    except UnreadablePostError:
        return JsonResponse({"error": "the body ended too early"}, status=HTTPStatus.BAD_REQUEST)
    except BadFeed as bad:
        return JsonResponse(bad.details, status=bad.status)


def import_json(request: HttpRequest, dry_run: bool) -> HttpResponse:
    """Import a feed that is held in memory as a whole, its body too, as request.body would be.

    All of it is checked before any of it is stored, so other imports wait for the database's work only.
    """
    body = read_body(request)
    answer, counts = process(list(validate(parse_feed(body))), dry_run)
    head = json.dumps({"dry_run": dry_run, "totals": totals(counts), "results": []}).encode().removesuffix(b"]}")
    results = b"".join(parts(answer)).replace(b"\n", b", ").removesuffix(b", ")
    return HttpResponse(head + results + b"]}", content_type="application/json")


def import_ndjson(request: HttpRequest, dry_run: bool) -> StreamingHttpResponse:
    """Import a feed with one record a line, and answer with one result a line and the totals in the last line.

    The answer waits in a file until the body has been read, because nginx stops sending a body once an answer begins.
    """
    answer, counts = process(validate(parse_lines(request)), dry_run)
    answer.write(json_line({"dry_run": dry_run, "totals": totals(counts)}))
    return StreamingHttpResponse(parts(answer), content_type="application/x-ndjson")


def process(checked: Iterable[Checked], dry_run: bool) -> tuple[IO[bytes], Counter[str]]:
    """Store checked records batch by batch. If one of them cannot be read, none is stored.

    Returns:
        A file with a line of JSON for the result of each record, and how many records have each status.
    """
    answer = SpooledTemporaryFile(max_size=PART_BYTES)  # noqa: SIM115 - parts() closes it
    counts: Counter[str] = Counter()
    rest = iter(checked)
    with nullcontext() if dry_run else one_at_a_time():
        while batch := list(itertools.islice(rest, BATCH)):
            if not dry_run:
                store(batch)
            counts.update(result["status"] for result, _ in batch)
            answer.writelines(json_line(result) for result, _ in batch)
    return answer, counts


def parts(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its beginning, PART_BYTES at a time. Closes it."""
    with file:
        file.seek(0)
        while part := file.read(PART_BYTES):
            yield part


def parse_feed(body: bytes) -> list[object]:
    """The records of a JSON feed: a list, or an object with the list under "products". Raises BadFeed."""
    try:
        text = body.decode()
        check_values(text)
        feed = json.loads(text, parse_float=parse_fraction, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not UTF-8: {error.reason}", byte=error.start) from None
    except json.JSONDecodeError as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not JSON: {error.msg}", line=error.lineno, column=error.colno) from None
    except (ValueError, RecursionError) as error:
        raise BadFeed(HTTPStatus.BAD_REQUEST, f"not usable as JSON: {error}") from None
    records = feed.get("products") if isinstance(feed, dict) else feed
    if not isinstance(records, list):
        raise BadFeed(HTTPStatus.BAD_REQUEST, 'a feed is a list of products, or {"products": [...]}')
    if len(records) > MAX_RECORDS:
        raise too_many_records()
    return records


def read_body(request: HttpRequest) -> bytes:
    """The whole body. Raises BadFeed. request.body has a lower limit, for forms (DATA_UPLOAD_MAX_MEMORY_SIZE)."""
    body = request.read(settings.MAX_BODY + 1)
    if len(body) > settings.MAX_BODY:
        raise BadFeed(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the feed is larger than {settings.MAX_BODY} bytes; send application/x-ndjson, or raise MAX_BODY_MB",
            limit=settings.MAX_BODY,
        )
    return body


def check_values(text: str) -> None:
    """Raise BadFeed for JSON of very many very short values, which would take thirty times its length in memory."""
    allowed = min(MAX_VALUES, FEW_VALUES + len(text) // BYTES_PER_VALUE)
    # A quick count first. It also counts what is inside texts, so it is too high, but enough to accept almost every
    # feed.
    if count_values(text, 0, len(text)) <= allowed:
        return
    values = quoted = end = 0
    for quotation in json_texts(text):
        values += count_values(text, end, quotation.start())
        # Names of fields are texts too, so two texts may be one value.
        quoted += 1
        end = quotation.end()
        if max(values, quoted // 2) > allowed:
            break
    else:
        values += count_values(text, end, len(text))
    if max(values, quoted // 2) > allowed:
        raise BadFeed(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the feed has more than {allowed} values, too many for its length"
        )


def count_values(text: str, start: int, end: int) -> int:
    return text.count(",", start, end) + text.count("[", start, end) + text.count("{", start, end)


def parse_lines(request: HttpRequest) -> Iterator[object]:
    """For each line of the body its record, or an InvalidRecord. Keeps one line of at most MAX_LINE bytes in memory.

    Raises BadFeed when a line {"end": true, "records": N}, as exports end, is not the last or says another number.
    """
    records = lines = 0
    ended = False
    while line := request.readline(MAX_LINE):
        lines += 1
        if lines > MAX_RECORDS:
            raise too_many_records()
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := request.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            record: object = InvalidRecord({"record": f"is longer than {MAX_LINE} bytes"})
        elif not line.strip():
            continue
        else:
            record = parse_line(line)
        if ended:
            raise BadFeed(HTTPStatus.BAD_REQUEST, f"line {lines} comes after the one that says that the feed has ended")
        if isinstance(record, dict) and record.get("end") is True:
            ended = True
            if record.get("records") != records:
                said = str(record.get("records"))[:20]
                raise BadFeed(HTTPStatus.BAD_REQUEST, f"the feed has {records} records, and its last line says {said}")
            continue
        records += 1
        yield record


def parse_line(line: bytes) -> object:
    try:
        return json.loads(line.decode().rstrip(), parse_float=parse_fraction, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        return InvalidRecord({"record": f"is not UTF-8: {error.reason} at byte {error.start}"})
    except json.JSONDecodeError as error:
        return InvalidRecord({"record": f"is not JSON: {error.msg} at column {error.colno}"})
    except (ValueError, RecursionError) as error:
        return InvalidRecord({"record": f"is not usable as JSON: {error}"})


def validate(records: Iterable[object]) -> Iterator[Checked]:
    """For each record its result so far (valid or invalid), and the record to store where it is valid."""
    invalid_records = 0
    for number, raw in enumerate(records, start=1):
        sku = raw.get("sku") if isinstance(raw, dict) else None
        result: Result = {"record": number, "sku": sku[:MAX_SKU] if isinstance(sku, str) else None}
        try:
            if isinstance(raw, InvalidRecord):
                raise raw
            record = clean(raw)
        except InvalidRecord as invalid:
            invalid_records += 1
            told = invalid_records <= MAX_TOLD
            errors = invalid.errors if told else {"record": f"is one of more than {MAX_TOLD} with errors"}
            yield result | {"status": "invalid", "errors": errors}, None
        else:
            yield result | {"sku": record.sku, "status": "valid", "errors": {}}, record


def store(checked: list[Checked]) -> None:
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
    """Refuse NaN and Infinity, which Python reads as numbers although JSON does not have them."""
    raise ValueError(f"{name} is not a number")


def too_many_records() -> BadFeed:
    return BadFeed(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the feed has more than {MAX_RECORDS} records: send it in several parts"
    )


def totals(counts: Counter[str]) -> dict[str, int]:
    return {"records": counts.total()} | {
        status: counts[status] for status in ("created", "updated", "valid", "invalid")
    }


def json_line(data: object) -> bytes:
    return json.dumps(data).encode() + b"\n"
