"""What is asked of the stack, as tables of data: the same seeded list of requests for each variant.

Two lanes run side by side, each at its own steady rate, so that small requests meet the large ones as on a real site:
many small requests, and one large request after the other.
"""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

Lane = Literal["small", "large"]
LANES: tuple[Lane, ...] = ("small", "large")
WORDS = """
    harbour lamp oak walnut steel linen canvas copper brass glass river stone meadow winter summer quiet plain
    folding sturdy light heavy round square narrow wide handmade woven turned polished oiled waxed stitched
    riveted cast forged table chair bench shelf basket kettle bowl cup jug tray blanket curtain mirror clock
    drawer hook rope lantern
""".split()  # noqa: SIM905 - a list of fifty lines says less
CATEGORIES = ("Carpentry", "Garden", "Hall", "Kitchen", "Lighting", "Metalwork", "Textiles", "Workshop")


@dataclass(frozen=True)
class Request:
    """One row of the table. `weight` is its share of its lane; `{page}`, `{sku}` and `{word}` are drawn by the seed.

    `streamed` is the path of its streaming counterpart, None where there is none; a feed goes there as NDJSON.
    """

    name: str
    lane: Lane
    weight: int
    path: str
    feed: bool = False
    streamed: str | None = None


TABLE = (
    Request("list", "small", 50, "/catalog/?page={page}"),
    Request("product", "small", 40, "/catalog/{sku}/"),
    Request("search", "small", 10, "/catalog/?q={word}"),
    Request("import, dry run", "large", 7, "/catalog/import/?dry_run=1", True, "/catalog/import/?dry_run=1"),
    Request("import", "large", 1, "/catalog/import/", True, "/catalog/import/"),
    Request("export.json", "large", 1, "/catalog/export.json", streamed="/catalog/export.ndjson"),
    Request("report", "large", 1, "/catalog/report/"),
)


@dataclass(frozen=True)
class Scenario:
    """How many of each lane, how fast, how large.

    Attributes:
        small, large: requests in each lane.
        small_users: the most requests in flight in the small lane; the large lane has one.
        small_rate, large_rate: requests a second of the whole lane, unless the server is slower.
        records: products in the feed; 10,000 make 22 MiB.
        products: products in the catalogue.
        quiet_s: the quiet phase after the load, with two small requests a second.
        max_body_mb: what nginx and Django must accept, MiB.
        memory_mb: what the machine should have free, MiB.
        left_out: the name of a row of the table that is not asked.
    """

    small: int
    large: int
    small_users: int
    small_rate: float
    large_rate: float
    records: int
    products: int
    quiet_s: float
    max_body_mb: int
    memory_mb: int
    left_out: str = ""

    @property
    def requests(self) -> int:
        return self.small + self.large


SCENARIOS = {
    # Slow enough that two slow processors have time to spare: latencies are then those of the server, not of a queue.
    "default": Scenario(5940, 60, 10, 50, 0.5, 13_000, 10_000, 15, 32, 1500),
    "quick": Scenario(1980, 20, 10, 50, 0.5, 13_000, 10_000, 6, 32, 1500),
    # Too small to inflate anything: shows in seconds that the experiment runs.
    "smoke": Scenario(180, 4, 10, 100, 2, 500, 500, 3, 32, 500),
    # The middle of what `make sweep` varies.
    "sweep": Scenario(970, 30, 10, 100, 2, 13_000, 10_000, 4, 64, 4000),
    # One large request after the other, for a container that is hardly larger than what one of them needs. The report
    # page alone needs more over idle memory than half of what such a list averages: no server could hold it.
    "tight": Scenario(400, 500, 2, 2, 10, 13_000, 10_000, 6, 32, 1500, left_out="report"),
    # Long: 100,000 requests, hundreds of recycles.
    "soak": Scenario(99_700, 300, 20, 1000, 1, 13_000, 10_000, 6, 32, 1500),
    "article": Scenario(5984, 16, 10, 100, 0.25, 90_000, 10_000, 15, 256, 6000),
}


def named(text: str) -> Scenario:
    """The scenario that the first word names, with fields of it replaced by the others: "sweep large=60 small=940".

    Raises:
        ValueError: there is no such scenario, no such field, or its value is no number; the message says which.
    """
    name, *changes = text.split()
    if name not in SCENARIOS:
        raise ValueError(f"SCENARIO={name}: there is no such scenario. There are: {', '.join(SCENARIOS)}.")
    changed: dict[str, float] = {}
    for change in changes:
        field, _, value = change.partition("=")
        kinds = {each.name: each.type for each in fields(Scenario) if each.type is not str}
        if field not in kinds or not value.replace(".", "", kinds[field] is float).isdecimal():
            raise ValueError(f"SCENARIO: {change} is no number for one of {', '.join(kinds)}.")
        changed[field] = float(value) if kinds[field] is float else int(value)
    return replace(SCENARIOS[name], **changed)  # type: ignore[arg-type]


def requests(scenario: Scenario, lane: Lane, seed: int) -> Iterator[tuple[Request, str]]:
    """The lane's fixed list: pairs of a row of the table and the path to ask for."""
    draw = random.Random(f"{seed} {lane}")  # noqa: S311 - repeatable, not secret
    rows = [row for row in TABLE if row.lane == lane and row.name != scenario.left_out]
    count = scenario.small if lane == "small" else scenario.large
    if lane == "large":
        # Every kind comes as often as its weight says, in seeded order: sixty are too few to leave that to chance.
        pool = [row for row in rows for _ in range(row.weight)]
        chosen = (pool * (count // len(pool) + 1))[:count]
        draw.shuffle(chosen)
    else:
        chosen = draw.choices(rows, [row.weight for row in rows], k=count)
    for row in chosen:
        page, sku = draw.randint(1, 50), draw.randint(1, scenario.products)
        yield row, row.path.format(page=page, sku=f"SKU-{sku:06d}", word=draw.choice(WORDS))


def authorization() -> dict[str, str]:
    """The header that opens imports and exports: IMPORT_TOKEN, where there is one."""
    token = os.environ.get("IMPORT_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def target(row: Request, path: str, streaming: bool) -> tuple[str, str]:
    """Where a request goes, and the content type of a feed that goes with it."""
    if streaming and row.streamed:
        return row.streamed, "application/x-ndjson"
    return path, "application/json"


def lines(feed: bytes) -> bytes:
    """A feed as NDJSON, one record a line."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in json.loads(feed))


def feed(scenario: Scenario, seed: int, folder: Path) -> Path:
    """The body of an import, made once and kept in `folder`: a JSON list of products, each with 0.3 to 4 KB of text."""
    path = folder / f"products-{scenario.records}-{seed}.json"
    if path.exists():
        return path
    draw = random.Random(seed)  # noqa: S311
    text = " ".join(draw.choices(WORDS, k=20_000))
    products = []
    for number in range(1, scenario.records + 1):
        start = draw.randrange(len(text) - 4100)
        products.append(
            {
                "sku": f"SKU-{number:06d}",
                "name": " ".join(draw.sample(WORDS, 3)).title(),
                "category": draw.choice(CATEGORIES),
                "description": text[start : start + draw.randint(300, 4096)],
                "price": f"{draw.randint(100, 99_999) / 100:.2f}",
                "stock": draw.randint(0, 500),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(products))
    unfinished.replace(path)
    return path
