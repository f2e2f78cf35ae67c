"""The ledger's table, its routes, and its message where peaks cannot be known."""

import mmap
import multiprocessing
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from lowtide import ledger
from lowtide.ledger import ROUTES, Ledger, fold, read


def serve(book: Ledger, path: str = "/", status: str = "200 OK", **environ: Any) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    account = {"REQUEST_METHOD": "GET", "PATH_INFO": path, **environ}
    book.watched(application)(account, lambda *_: None)
    book.close()
    book.end()


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/product/17/", "/product/{id}/"),
        ("/a/5f0c7a1e-77aa-4b6c-8a41-3f8f4f1c2b3d/b", "/a/{id}/b"),
        ("/d41d8cd98f00b204e9800998ecf8427e", "/{id}"),
        ("/v2/items/", "/v2/items/"),
        ("/order/2024-long-slug-of-17-words/", "/order/{id}/"),
        ("/", "/"),
    ],
)
def test_what_varies_in_a_path_is_folded(path: str, route: str) -> None:
    assert fold(path) == route


def test_a_successor_goes_on_in_its_predecessors_rows(tmp_path: Path) -> None:
    book = Ledger(2, file=tmp_path / "ledger")
    for worker in (1, 2, 2):
        book.take_place(worker)
        serve(book, "/item/1/")
        serve(book, "/item/2/", status="500 Oh")
    (route,), unknown = read(tmp_path / "ledger")
    assert (route.method, route.route, route.count, route.errors, unknown) == ("GET", "/item/{id}/", 6, 3, "")


def test_a_long_route_has_one_row_whoever_goes_on_in_it(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    long = "/" + "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}/" * 40
    for _ in range(3):
        book.take_place(1)
        serve(book, **{ledger.ROUTE: long})
        serve(book, **{ledger.ROUTE: "/first/"})
    serve(book, **{ledger.ROUTE: "/second/"})
    counts = {route.route: route.count for route in read(tmp_path / "ledger")[0]}
    assert (counts.pop("/first/"), counts.pop("/second/")) == (3, 1)
    ((cut, count),) = counts.items()
    assert long.startswith(cut)
    assert count == 3


def test_a_new_route_takes_no_row_that_is_in_use(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    book.take_place(1)
    for path in ("/one", "/two", "/three"):
        serve(book, path)
    struct.pack_into("=qqd", book._table, ledger._HEAD.size + ledger._NAME_BYTES, -5, 0, float("nan"))
    book.take_place(1)
    serve(book, "/four")
    assert {route.route for route in read(tmp_path / "ledger")[0]} == {"/two", "/three", "/four"}


def test_a_request_without_a_path_is_counted(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    for _ in range(2):
        book.take_place(1)
        serve(book, "")
        serve(book, "/other")
    assert {route.route: route.count for route in read(tmp_path / "ledger")[0]} == {"/": 2, "/other": 2}


def test_the_adapter_of_a_framework_names_the_route(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    book.take_place(1)
    serve(book, "/item/1/", **{ledger.ROUTE: "/item/<int:pk>/"})
    serve(book, "/no/such/", status="404 Not Found")
    assert {route.route for route in read(tmp_path / "ledger")[0]} == {"/item/<int:pk>/", ledger.NO_ROUTE}


def test_routes_are_bounded_in_number_whoever_makes_them_up(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    size = (tmp_path / "ledger").stat().st_size
    book.take_place(1)
    for number in range(3 * ROUTES):
        serve(book, f"/page-{chr(97 + number // 26)}{chr(97 + number % 26)}", REQUEST_METHOD=f"M{number}")
    routes, _ = read(tmp_path / "ledger")
    assert len(routes) <= ROUTES
    assert sum(route.count for route in routes) == 3 * ROUTES
    assert max(routes, key=lambda route: route.count).route == ledger.OTHER
    assert (tmp_path / "ledger").stat().st_size == size


@pytest.mark.parametrize("size_mb", [3, 20, 70])
def test_the_peak_is_what_the_request_took(tmp_path: Path, size_mb: int) -> None:
    book = Ledger(1, file=tmp_path / "ledger")

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        # Mapped, because Python might take it from what earlier tests left free in this process.
        with mmap.mmap(-1, 1_000_000 * size_mb) as block:
            for page in range(0, len(block), mmap.PAGESIZE):
                block[page] = 1
        return []

    def work() -> None:
        book.take_place(1)
        for _ in range(5):
            book.watched(application)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
            book.end()

    # In a fork, as in a server: a process that was started with exec keeps its parent's highest RSS for good.
    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    ((route,), unknown) = read(tmp_path / "ledger")
    assert not unknown
    # The kernel counts pages in batches, so a peak is exact to some hundred KiB only.
    assert route.peak_mb(0.5) == pytest.approx(size_mb * 1e6 / 2**20, rel=0.1, abs=1)
    assert route.retained_mb < 2


def test_a_torn_row_costs_itself_alone(tmp_path: Path) -> None:
    book = Ledger(1, file=tmp_path / "ledger")
    book.take_place(1)
    serve(book, "/one")
    serve(book, "/two")
    table = bytearray((tmp_path / "ledger").read_bytes())
    at = ledger._HEAD.size + ledger._NAME_BYTES
    struct.pack_into("=qqd", table, at, -5, 0, float("nan"))
    (tmp_path / "torn").write_bytes(table)
    assert [route.route for route in read(tmp_path / "torn")[0]] == ["/two"]


def test_threads_and_sandboxes_are_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = Ledger(2, file=tmp_path / "ledger")
    book.take_place(1, threads=4)
    book.take_place(2, threads=4)
    serve(book, "/")
    assert capsys.readouterr().err.count("threads share the peak of their process") == 1
    (route,), unknown = read(tmp_path / "ledger")
    assert (route.count, route.peak_max_mb, unknown) == (1, 0, "threads share the peak of their process")

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    book = Ledger(1)
    book.take_place(1)
    assert "/proc/self/clear_refs cannot be written: Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["many", "-1", "nan"])
def test_a_threshold_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("LEDGER", value)
    with pytest.raises(ValueError, match=f"LEDGER={value} cannot be used"):
        ledger.line_mb()
