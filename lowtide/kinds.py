"""What requests of the same kind have taken, in a table that all workers share without a lock.

Requests with the same method and path (numbers and ids folded) and with bodies of about the same size are of one kind,
because they need about the same memory. This is known before the application sees the request; the ledger's routes are
not. When two workers write an entry at the same moment, one request is not counted.
"""

import math
import struct
import zlib

from lowtide import memory
from lowtide.ledger import fold
from lowtide.wsgi import Environ

# A hash of the kind (0 for a free place), the highest peak in MiB, and how many requests had a peak of LARGE_MB or
# more, and less.
_ENTRY = struct.Struct("=qdqq")
_PLACES = 256
# MiB. A request with at least this peak is a large one.
LARGE_MB = 32.0


def kind(environ: Environ) -> int:
    """The number of the request's kind."""
    length = environ.get("CONTENT_LENGTH") or ""
    size = int(length) if length.isdecimal() else 0
    # Steps of the square root of 2.
    step = round(2 * math.log2(size)) if size else -1
    text = f"{environ.get('REQUEST_METHOD', '')} {fold(environ.get('PATH_INFO', ''))} {step}"
    return zlib.crc32(text.encode(errors="replace")) + 1


class Kinds:
    """The table. Make it before the fork."""

    def __init__(self) -> None:
        self._memory = memory.shared(_ENTRY.size * _PLACES)

    def _at(self, wanted: int) -> int:
        """Where the entry of this kind is, or where it would be."""
        for offset in range(_PLACES):
            at = (wanted + offset) % _PLACES * _ENTRY.size
            if _ENTRY.unpack_from(self._memory, at)[0] in (0, wanted):
                return at
        # The table is full, so this kind takes another's place.
        return wanted % _PLACES * _ENTRY.size

    def _entry(self, wanted: int) -> tuple[float, int, int]:
        number, highest_mb, large, small = _ENTRY.unpack_from(self._memory, self._at(wanted))
        return (highest_mb, large, small) if number == wanted else (0.0, 0, 0)

    def knows(self, wanted: int) -> bool:
        return any(self._entry(wanted))

    def note(self, wanted: int, peak_mb: float) -> None:
        """Enter the peak of a request."""
        highest_mb, large, small = self._entry(wanted)
        if peak_mb >= LARGE_MB:
            large += 1
        else:
            small += 1
        memory.put(self._memory, self._at(wanted), _ENTRY, wanted, max(highest_mb, peak_mb), large, small)

    def highest_mb(self, wanted: int) -> float | None:
        """The highest peak of this kind; None while none is known."""
        highest_mb, *counts = self._entry(wanted)
        return highest_mb if any(counts) else None

    def is_large(self, wanted: int) -> bool:
        """Whether requests of this kind should go to the workers for large requests: at least two of them were large,
        because a first request may load modules, and at least one in ten."""
        _, large, small = self._entry(wanted)
        return large >= 2 and 9 * large >= small
