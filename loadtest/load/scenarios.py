"""What is asked of the stack: the same seeded list of requests for each variant, made of app/lowtide.toml, [loadtest].

Two lanes run side by side, each at its own steady rate, so that small requests meet the large ones as on a real site:
many small requests, and one large request after the other, or several at once.
"""

import functools
import os
import random
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

from loadtest.load import recorded
from lowtide import application
from lowtide.application import Application, Loadtest, MadeCall, Request

Lane = Literal["small", "large"]
LANES: tuple[Lane, ...] = ("small", "large")
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scenario:
    """How many of each lane, how fast, how large.

    Attributes:
        small, large: requests in each lane.
        small_users, large_users: the most requests in flight in each lane.
        small_rate, large_rate: requests a second of the whole lane, unless the server is slower.
        records: how large a made body is, as the application counts.
        items: how much the database holds, as the application counts.
        quiet_s: the quiet phase after the load, with two small requests a second.
        max_body_mb: what nginx and Django must accept, MiB.
        memory_mb: what the machine should have free, MiB.
        sizes: how many times `records` the made bodies of large requests have. Each of these sizes is asked equally
            often; one that stands here twice, twice as often.
    """

    name: str
    small: int
    large: int
    small_users: int
    small_rate: float
    large_rate: float
    records: int
    items: int
    quiet_s: float
    max_body_mb: int
    memory_mb: int
    large_users: int = 1
    sizes: tuple[int, ...] = (1,)

    @property
    def requests(self) -> int:
        return self.small + self.large


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        # Slow enough that two slow processors have time to spare: the latencies are then those of the server and not
        # those of a queue.
        Scenario("default", 5940, 60, 10, 50, 0.5, 13_000, 10_000, 15, 32, 1500),
        Scenario("quick", 1980, 20, 10, 50, 0.5, 13_000, 10_000, 6, 32, 1500),
        # Takes seconds, to see that the experiment runs. Its requests are too small to make a worker grow.
        Scenario("smoke", 180, 4, 10, 100, 2, 500, 500, 3, 32, 500),
        # The middle of what `make sweep` varies.
        Scenario("sweep", 970, 30, 10, 100, 2, 13_000, 10_000, 4, 64, 4000),
        # One large request after the other, for a container that is hardly larger than what one of them needs.
        Scenario("tight", 400, 500, 2, 2, 10, 13_000, 10_000, 6, 32, 1500),
        # Several large requests at once, with bodies of 2, 10, 30 and 60 MiB, as fast as the server answers.
        Scenario("mixed", 130, 260, 2, 2, 1000, 900, 5_000, 6, 64, 1500, 4, (1, 5, 15) * 4 + (30,)),
        # 100,000 requests and hundreds of recycles, to see whether a recycle ever costs a request.
        Scenario("soak", 99_700, 300, 20, 1000, 1, 13_000, 10_000, 6, 32, 1500),
        Scenario("article", 5984, 16, 10, 100, 0.25, 90_000, 10_000, 15, 256, 6000),
    )
}


# Without quiet time or free memory a scenario still measures; without any of the others there is nothing to divide by.
MAY_BE_ZERO = ("quiet_s", "memory_mb")


def named(text: str) -> Scenario:
    """The scenario that the first word names, with fields of it replaced by the others: "sweep large=60 small=940".

    Raises:
        ValueError: there is no such scenario, no such field, or its value is no number over 0; the message says which.
    """
    name, *changes = text.split() or [text]
    if name not in SCENARIOS:
        raise ValueError(f"SCENARIO={name}: there is no such scenario. There are: {', '.join(SCENARIOS)}.")
    changed: dict[str, float] = {}
    for change in changes:
        field, _, value = change.partition("=")
        kinds = {known.name: known.type for known in fields(Scenario) if known.type in (int, float)}
        if field not in kinds or not value.replace(".", "", kinds[field] is float).isdecimal():
            raise ValueError(f"SCENARIO: {change} is no number for one of {', '.join(kinds)}.")
        changed[field] = float(value) if kinds[field] is float else int(value)
        if not changed[field] and field not in MAY_BE_ZERO:
            raise ValueError(f"SCENARIO: {change} cannot be used: write a number over 0.")
    return replace(SCENARIOS[name], **changed)  # type: ignore[arg-type]


def inflates() -> bool:
    """Whether the requests are known to leave workers inflated; of a recorded list that is not known."""
    loadtest = described().loadtest
    return loadtest is not None and loadtest.inflates and not os.environ.get("LOADTEST_FROM")


@functools.cache
def described() -> Application:
    """The application that is asked.

    Raises:
        application.Invalid: its lowtide.toml cannot be used, or says nothing of the experiment.
    """
    description = application.read(Path(os.environ.get("APP_DIR") or CHECKOUT / "app"))
    if description.loadtest is None and not os.environ.get("LOADTEST_FROM"):
        raise application.Invalid(f"{description.file} says nothing to ask: write [loadtest], as docs/fork.md shows.")
    for request in description.loadtest.requests if description.loadtest else ():
        if unknown := set(request.left_out_of) - SCENARIOS.keys():
            raise application.Invalid(
                f"{description.file}: left_out_of names {', '.join(unknown)}: there are {', '.join(SCENARIOS)}."
            )
    application.check(description)
    return description


@functools.cache
def recording() -> recorded.Recording | None:
    """The requests that the file LOADTEST_FROM has, which take the place of those in lowtide.toml; None without one.

    Raises:
        application.Invalid: the file cannot be used.
    """
    if not (file := os.environ.get("LOADTEST_FROM")):
        return None
    return recorded.read(Path(file), described(), os.environ.get("LOADTEST_WRITES") == "1")


def loadtest() -> Loadtest:
    """What the application says of the experiment, with the requests of LOADTEST_FROM where that is set."""
    section = described().loadtest
    if from_file := recording():
        section = section or Loadtest(warm_up=application.Call(path=described().page), requests=())
        return replace(section, requests=from_file.requests)
    assert section  # noqa: S101 - described() has refused its absence
    return section


class Asked(NamedTuple):
    """One request of a list: its entry in lowtide.toml, what is sent for it, and its path with what was drawn.

    `size` is that of a made body, in multiples of the scenario's `records`.
    """

    row: Request
    call: MadeCall
    path: str
    size: int = 1

    @property
    def name(self) -> str:
        """The entry's name, and its size where that is not 1."""
        return self.row.name if self.size == 1 else f"{self.row.name} x {self.size}"


def requests(scenario: Scenario, lane: Lane, seed: int, streaming: bool = False) -> Iterator[Asked]:
    """The lane's fixed list. With `streaming` each request is its streaming counterpart, where there is one."""
    draw = random.Random(f"{seed} {lane}")  # noqa: S311 - repeatable, not secret
    rows = [row for row in loadtest().requests if row.lane == lane and scenario.name not in row.left_out_of]
    count = scenario.small if lane == "small" else scenario.large
    if lane == "large":
        # Every kind comes exactly as often as its weight says, in an order that the seed gives: with sixty requests,
        # chance alone would stray too far from the weights.
        pool = [(row, size) for row in rows for _ in range(row.weight) for size in sizes(row, scenario)]
        # A list that is shorter than the pool takes evenly from it.
        chosen = pool * (count // len(pool)) or [pool[n * len(pool) // count] for n in range(count)]
        chosen += pool[: count - len(chosen)]
        draw.shuffle(chosen)
    else:
        chosen = [(row, 1) for row in draw.choices(rows, [row.weight for row in rows], k=count)]
    for row, size in chosen:
        words = drawn(draw, scenario)
        call = row.streamed if streaming and row.streamed else row
        yield Asked(row, call, call.path.format_map(words), size)


def sizes(row: Request, scenario: Scenario) -> tuple[int, ...]:
    """The sizes in which an entry is asked: one, if it fills the database, because a larger one would add to that."""
    varies = row.make_body and row.name not in loadtest().seed_requests
    return scenario.sizes if varies else (1,) * len(scenario.sizes)


def drawn(draw: random.Random, scenario: Scenario) -> dict[str, int | str]:
    """The values that the seed draws for one path, in the order of lowtide.toml."""
    words: dict[str, int | str] = {}
    for name, rule in loadtest().draw.items():
        if rule.most:
            most = rule.most if isinstance(rule.most, int) else int(getattr(scenario, rule.most))
            words[name] = draw.randint(rule.least, most)
        else:
            words[name] = draw.choice(described().words(rule))
    return words


def seed_commands(scenario: Scenario, seed: int) -> list[str]:
    """The commands of manage.py that fill the database."""
    words = {"items": scenario.items, "records": scenario.records, "seed": seed}
    return [command.format_map(words) for command in loadtest().seed]


def body(call: MadeCall, scenario: Scenario, seed: int, folder: Path, size: int = 1) -> bytes:
    """The body of a request, a made one of `size` times the scenario's records.

    A body made by a function is made once for a size and seed, and kept in `folder`.
    """
    if not call.make_body:
        return call.body.encode()
    make = described().load(call.make_body)
    # The name of the file has a checksum of the function's module, so that a function that was changed makes the body
    # anew.
    code = zlib.crc32(Path(sys.modules[make.__module__].__file__ or "").read_bytes())
    records = scenario.records * size
    path = folder / f"{call.make_body.replace(':', '-')}-{records}-{seed}-{code:08x}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        unfinished.write_bytes(make(records, seed))
        unfinished.replace(path)
    return path.read_bytes()


def largest_body_mb(scenario: Scenario, seed: int, folder: Path) -> float:
    """The size of the largest body of the list, MiB."""
    size = max(scenario.sizes)
    return max(len(body(row, scenario, seed, folder, size)) for row in loadtest().requests) / 2**20
