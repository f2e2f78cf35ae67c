"""What the tests' description names."""

WORDS = ["one", "two", "three"]


def whole(records: int, seed: int) -> bytes:
    return f"{seed}:".encode() + b"x" * records


def pieces(records: int, seed: int) -> bytes:
    return whole(records, seed).replace(b"x", b"x\n")
