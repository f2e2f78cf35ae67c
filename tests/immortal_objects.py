"""Prints as JSON what becomes of objects that are made immortal. The tests run this in a process of its own."""

import gc
import json
import os
import sys
from typing import Any

from lowtide import immortal, memory


class Plain:
    def method(self) -> tuple[str, tuple[int, ...]]:
        return "a text of the code", (1000, 2000)


class Closes:
    closed = 0

    def __del__(self) -> None:
        Closes.closed += 1


def is_immortal(item: object) -> bool:
    return sys.getrefcount(item) >= 2**31


def private_mb(objects: list[Any]) -> float:
    """What a child gets for itself by using objects that it shares with this process."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        kept = list(objects)
        gc.disable()
        (mb,) = memory.fields_mb("self", "smaps_rollup", "Private_Dirty") or [0.0]
        os.write(writer, str(mb if kept else 0).encode())
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        os.close(writer)
        return float(said.read())


def expected(can_be: bool) -> dict[str, object]:
    """What this prints on a Python that has immortal objects, or has none."""
    return {
        "can be": can_be,
        "some were made": can_be,
        "immortal": [can_be] * 6,
        "what came later": False,
        "closed": 1,
        "a second time": False,
        "a child copies less": can_be,
    }


def main() -> None:
    objects: list[Any] = [f"text {number} {'x' * 200}" for number in range(100_000)]
    plain, closes = Plain(), Closes()
    inside = {"of": [plain, ("a tuple", 5000.5)]}
    before_mb = private_mb(objects)
    made = immortal.immortalize()
    del closes
    later = Plain()
    gc.collect()
    (constant,) = (item for item in Plain.method.__code__.co_consts if isinstance(item, tuple))
    print(
        json.dumps(
            {
                "can be": immortal.can_be(),
                "some were made": made > len(objects),
                "immortal": [is_immortal(item) for item in (Plain, plain, inside, inside["of"], objects[7], constant)],
                "what came later": is_immortal(later) or is_immortal(f"text {made}"),
                "closed": Closes.closed,
                "a second time": immortal.immortalize() > 1000,
                "a child copies less": private_mb(objects) < before_mb / 3,
            }
        )
    )


if __name__ == "__main__":
    main()
