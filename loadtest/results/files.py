"""The files of a result directory: summary.json, samples.csv, events.csv, and config-VARIANT.ini where uWSGI ran."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from loadtest.results.types import Event, Options, ResultError, Results, Sample, Summary

Row = TypeVar("Row", Sample, Event)
Whole = TypeVar("Whole", bound=Struct)


def write(results: Results) -> None:
    """Write summary.json, samples.csv and events.csv. The configurations were written when each variant ran."""
    write_whole(results.directory / "summary.json", results.summary)
    write_rows(results.directory / "samples.csv", Sample, chain.from_iterable(results.samples.values()))
    write_rows(results.directory / "events.csv", Event, chain.from_iterable(results.events.values()))


def write_whole(path: Path, whole: Struct) -> None:
    """A JSON file with indentation."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n")


def read_whole(path: Path, whole: type[Whole]) -> Whole:
    """Read and check a JSON file of this type. Raises ResultError."""
    try:
        return msgspec.json.decode(_text(path), type=whole)
    except msgspec.DecodeError as error:
        raise ResultError(f"{path}: {error}") from None


def write_rows(path: Path, row_type: type[Struct], rows: Iterable[Struct]) -> None:
    """A CSV file: the fields of the type, and a line for each row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(row_type.__struct_fields__)
        out.writerows(map(msgspec.structs.astuple, rows))


def read(directory: Path) -> Results:
    """Read and check the files of a result directory. Raises ResultError."""
    summary = read_summary(directory / "summary.json")
    names = [variant.name for variant in summary.variants]
    options = {name: directory / f"config-{name}.ini" for name in names if "/" not in name}
    return Results(
        directory,
        summary,
        _by_variant(directory / "samples.csv", Sample, names),
        _by_variant(directory / "events.csv", Event, names),
        {name: _options(path) for name, path in options.items() if path.exists()},
    )


def read_summary(path: Path) -> Summary:
    """Read and check a `summary.json` alone. Raises ResultError."""
    summary = read_whole(path, Summary)
    names = [variant.name for variant in summary.variants]
    for name in names:
        if names.count(name) > 1:
            raise ResultError(f"{path}: variant {name!r} is listed twice - at `$.variants`")
    checks = summary.verdict.checks
    if checks and summary.verdict.holds != all(check.holds for check in checks):
        raise ResultError(f"{path}: the verdict contradicts its checks - at `$.verdict.holds`")
    return summary


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: run `make loadtest` to make it") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ResultError(f"{path} is not UTF-8 text (byte {error.start})") from None


def _by_variant(path: Path, row_type: type[Row], names: list[str]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in names}
    for line, row in _rows(path, row_type):
        if row.variant not in rows:
            raise ResultError(f"{path} line {line}: variant {row.variant!r} is not in summary.json")
        rows[row.variant].append(row)
    for rows_of_variant in rows.values():
        rows_of_variant.sort(key=lambda row: row.t_s)
    return rows


def _rows(path: Path, row_type: type[Row]) -> Iterator[tuple[int, Row]]:
    lines = csv.DictReader(_text(path).splitlines(), strict=True)
    try:
        missing = [name for name in row_type.__struct_fields__ if name not in (lines.fieldnames or [])]
        if missing:
            raise ResultError(f"{path} line 1: column {missing[0]!r} is missing")
        for row in lines:
            cells = {key: value or None for key, value in row.items() if key}
            yield lines.line_num, msgspec.convert(cells, row_type, strict=False)
    except msgspec.ValidationError as error:
        raise ResultError(f"{path} line {lines.reader.line_num}: {error}") from None
    except csv.Error as error:
        raise ResultError(f"{path} line {lines.reader.line_num}: {error}") from None


def _options(path: Path) -> Options:
    """`key = value` lines; a key that is repeated collects its values in order."""
    options: Options = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        key, equals, value = (part.strip() for part in line.partition("="))
        if not line.strip() or line.startswith("["):
            continue
        if not equals or not key:
            raise ResultError(f"{path} line {number}: expected `key = value`, got {line.strip()[:60]!r}")
        options.setdefault(key, []).append(value)
    return options
