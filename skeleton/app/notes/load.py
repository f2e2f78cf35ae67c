"""The body that the experiment sends, made from a seed without Django. lowtide.toml names it."""

import json
import random

WORDS = [
    "tide",
    "pulse",
    "harbour",
    "shore",
    "river",
    "stone",
    "lamp",
    "rope",
    "glass",
    "meadow",
    "winter",
    "summer",
    "quiet",
    "light",
    "heavy",
    "round",
]


def feed(records: int, seed: int) -> bytes:
    """The body of an import: notes with 0.3 to 4 KB of text each. 10,000 are 22 MiB."""
    draw = random.Random(seed)  # noqa: S311 - repeatable, not secret
    text = " ".join(draw.choices(WORDS, k=20_000))
    notes = []
    for number in range(1, records + 1):
        start = draw.randrange(len(text) - 4100)
        title = " ".join(draw.sample(WORDS, 3))
        notes.append({"number": number, "title": title, "text": text[start : start + draw.randint(300, 4096)]})
    return json.dumps(notes).encode()
