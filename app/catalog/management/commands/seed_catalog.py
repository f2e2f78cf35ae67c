"""Fill the catalogue with made-up products, the same ones for the same seed."""

import random
import sys
from argparse import ArgumentParser
from decimal import Decimal
from typing import NamedTuple

from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from catalog.feed import Record
from catalog.upsert import BATCH, upsert


class Range(NamedTuple):
    """What is made up for one category: products, kinds, uses, and the lowest and the highest price in whole euros."""

    things: tuple[str, ...]
    kinds: tuple[str, ...]
    uses: tuple[str, ...]
    cheapest: int
    dearest: int


RANGES = {
    "Boat fittings": Range(
        ("cleat", "fairlead", "hatch", "ladder", "porthole", "rowlock", "shackle", "winch handle"),
        ("bronze", "stainless steel", "anodised aluminium", "galvanised steel"),
        ("a dinghy", "a cruising yacht", "a fishing boat", "a canal boat"),
        6,
        420,
    ),
    "Clothing": Range(
        (
            "beanie",
            "fleece",
            "oilskin jacket",
            "pair of deck shoes",
            "smock",
            "sou'wester",
            "thermal shirt",
            "waistcoat",
        ),
        ("hard-wearing", "lightweight", "quick-drying", "reversible"),
        ("a wet watch", "a cold harbour", "summer sailing", "the walk home"),
        18,
        260,
    ),
    "Electronics": Range(
        (
            "anemometer",
            "battery monitor",
            "chart plotter",
            "depth sounder",
            "handheld radio",
            "masthead light",
            "solar panel",
        ),
        ("compact", "waterproof", "low-power", "rugged"),
        ("coastal passages", "night sailing", "long moorings", "racing"),
        29,
        1900,
    ),
    "Galley": Range(
        (
            "chopping board",
            "coffee pot",
            "cool box",
            "kettle",
            "lidded mug",
            "pressure cooker",
            "sauté pan",
            "storage jar",
        ),
        ("enamelled", "non-slip", "stackable", "unbreakable"),
        ("a gimballed stove", "a crew of four", "a small locker", "rough weather"),
        8,
        180,
    ),
    "Mooring and anchoring": Range(
        ("anchor", "boat hook", "chain", "fender", "mooring buoy", "mooring line", "snubber", "swivel"),
        ("heavy-duty", "quick-release", "rustproof", "weighted"),
        ("sand and mud", "a tidal berth", "a crowded quay", "an exposed anchorage"),
        9,
        640,
    ),
    "Navigation": Range(
        (
            "almanac",
            "bearing compass",
            "chart",
            "chart table lamp",
            "pair of binoculars",
            "parallel rule",
            "sextant",
            "tide table",
        ),
        ("classic", "large-scale", "pocket", "waterproof"),
        ("home waters", "the Channel", "the North Sea", "an ocean crossing"),
        7,
        950,
    ),
    "Paint and care": Range(
        ("antifouling", "bilge cleaner", "brush set", "epoxy filler", "sealant", "teak oil", "topcoat", "varnish"),
        ("fast-drying", "hard-wearing", "low-odour", "professional"),
        ("glass fibre hulls", "bare teak", "a weekend's work", "the spring refit"),
        5,
        210,
    ),
    "Rope and rigging": Range(
        ("block", "bungee", "dyneema line", "halyard", "sheet", "splicing kit", "turnbuckle", "whipping twine"),
        ("heavy-duty", "low-friction", "marine-grade", "racing"),
        ("a furling genoa", "a lugsail", "running backstays", "the odd repair"),
        4,
        330,
    ),
    "Safety": Range(
        (
            "fire blanket",
            "first aid kit",
            "flare pack",
            "harness",
            "jackstay",
            "life jacket",
            "life raft",
            "throwing line",
        ),
        ("ISO-approved", "compact", "high-visibility", "offshore"),
        ("children", "offshore racing", "single-handed sailing", "inland waters"),
        14,
        1500,
    ),
}
LINES = ("Ebb", "Neap", "Spring", "Slack", "Fathom", "Lee", "Halcyon", "Kittiwake", "Dogger", "Solent")
SENTENCES = (
    "The {thing} is made for {use}, and it is the one we carry ourselves.",
    "We chose the {kind} version because it shrugs off salt, sun and years of careless stowing.",
    "It comes with everything needed to fit it, and with instructions that two people have proof-read.",
    "Rinse it with fresh water now and then; it asks for nothing else.",
    "Customers write that it has outlasted two boats, which is the best thing said about a {thing} so far.",
    "Each one is checked by hand in our workshop on the quay before it is packed.",
    "Spare parts stay in stock for ten years, and a repair costs less than a replacement.",
    "It stows flat, weighs less than it looks, and makes no noise when the sea gets up.",
    "If it does not suit {use}, send it back within sixty days, wet or dry.",
    "The finish is matt so that it does not dazzle the helm at noon.",
    "Measure twice: the fastenings sit {number} mm apart, and the backing plate is to match.",
    "In our own trial it held for {number} hours in a south-westerly that closed the harbour.",
    "The packaging is cardboard and twine, both of which the galley stove will take.",
    "A little grease on the moving parts each spring keeps the {thing} working like new.",
    "The {line} range shares its fittings, so parts of one size fit the others of the same size.",
    "Earlier models were heavier; this one has lost {number} grams and none of its strength.",
)
SHORTEST, LONGEST = 300, 4000


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--products", type=int, default=2000, help="how many (default: 2000)")
        parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")

    def handle(self, *args: object, products: int, seed: int, verbosity: int, **options: object) -> None:
        if not 1 <= products <= 999_999:
            raise CommandError(f"--products {products}: write a number from 1 to 999999")
        created = 0
        quiet = verbosity == 0 or not sys.stderr.isatty()
        with tqdm(total=products, unit=" products", disable=quiet) as progress:
            for start in range(1, products + 1, BATCH):
                numbers = range(start, min(start + BATCH, products + 1))
                created += len(upsert(made_up(seed, number) for number in numbers))
                progress.update(len(numbers))
        if verbosity:
            self.stdout.write(f"{created} products created, {products - created} updated")


def made_up(seed: int, number: int) -> Record:
    """Product `number` of `seed`. It is the same however many others there are."""
    # This is not for secrets. It is the same on every version of Python, which have seeded from text since 3.2.
    rng = random.Random(f"{seed}/{number}")  # noqa: S311
    category = rng.choice(sorted(RANGES))
    range_ = RANGES[category]
    line, thing, kind, use = map(rng.choice, (LINES, range_.things, range_.kinds, range_.uses))
    # Most products are small and cheap, a few are large and dear. Prices end in digits that are usual in shops.
    size = 1 + int(rng.random() ** 2.5 * 24)
    euros = range_.cheapest + (range_.dearest - range_.cheapest) * size // 24 * rng.randint(70, 100) // 100
    price = Decimal(euros) + Decimal(rng.choice(("0.00", "0.50", "0.90", "0.95", "0.99")))
    stock = 0 if rng.random() < 0.06 else int(rng.lognormvariate(3.2, 1.1))
    return Record(
        sku=f"SKU-{number:06d}",
        name=f"{line} {kind} {thing}, size {size}",
        category=category,
        description=describe(rng, line=line, thing=thing, kind=kind, use=use),
        price=price,
        stock=stock,
    )


def describe(rng: random.Random, **words: str) -> str:
    """Paragraphs of three to six sentences, SHORTEST to LONGEST characters in all."""
    length = rng.randint(SHORTEST, LONGEST - 200)
    paragraphs: list[str] = []
    while sum(map(len, paragraphs)) < length:
        templates = rng.sample(SENTENCES, rng.randint(3, 6))
        paragraphs.append(" ".join(template.format(**words, number=rng.randint(4, 90)) for template in templates))
    # Cut at the last sentence that fits.
    text = "\n\n".join(paragraphs)[:LONGEST]
    return text[: text.rindex(".") + 1]
