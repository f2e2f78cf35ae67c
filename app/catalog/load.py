"""The bodies that the experiment sends, made from words and a seed without Django. lowtide.toml names them."""

import json
import random

WORDS = """
    harbour lamp oak walnut steel linen canvas copper brass glass river stone meadow winter summer quiet plain
    folding sturdy light heavy round square narrow wide handmade woven turned polished oiled waxed stitched
    riveted cast forged table chair bench shelf basket kettle bowl cup jug tray blanket curtain mirror clock
    drawer hook rope lantern
""".split()  # noqa: SIM905 - a list of fifty lines says less
CATEGORIES = ("Carpentry", "Garden", "Hall", "Kitchen", "Lighting", "Metalwork", "Textiles", "Workshop")


def feed(records: int, seed: int) -> bytes:
    """The body of an import: a JSON list of products, each with 0.3 to 4 KB of text. 10,000 records are 22 MiB."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    text = " ".join(draw.choices(WORDS, k=20_000))
    products = []
    for number in range(1, records + 1):
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
    return json.dumps(products).encode()


def feed_lines(records: int, seed: int) -> bytes:
    """The same feed as NDJSON, one record a line."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in json.loads(feed(records, seed)))
