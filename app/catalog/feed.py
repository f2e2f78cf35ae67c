"""Checks one record of a product feed and brings it into the shape in which it is stored. Uses no database."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from catalog.models import SKU_PATTERN

MAX_SKU = 32
MAX_NAME = 200
MAX_CATEGORY = 100
MAX_DESCRIPTION = 10_000
# Trimming and NFC normalisation shorten a text, decomposed Vietnamese to a third. So a text may be longer than its
# limit before that, but one that is longer than ROOM times its limit is refused at once, so that no work is done on
# long texts.
ROOM = 4
# Digits of a price, its exponent included.
MAX_DIGITS = 40
# The most combining characters in a row, as in Unicode's Stream-Safe Text Format (UAX 15). Normalising sorts them, and
# the time for that grows with the square of their number. No language needs more than a handful.
MAX_MARKS = 30
MAX_PRICE = Decimal("99999999.99")
MAX_STOCK = 2**31 - 1

sku_matches = re.compile(SKU_PATTERN).fullmatch
# What PostgreSQL cannot store (NUL, halves of surrogate pairs) or no page can show; tab and line feed are fine.
find_unprintable = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]").search
# Decimal() would also accept 1_000, NaN and the digits of every script.
decimal_matches = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class Record:
    """A valid product, with the values that `Product` stores and the name of its category."""

    sku: str
    name: str
    category: str
    description: str
    price: Decimal
    stock: int


class InvalidRecord(Exception):
    """Why a record is refused: `errors` maps each field to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(errors)
        self.errors = errors


def clean(raw: object) -> Record:
    """The record in `raw`, which is what json.loads made of it. Raises InvalidRecord with every error found.

    Text is trimmed and normalised to NFC, names lose repeated spaces, line ends become LF. Fields that the
    catalogue does not know are left out.
    """
    if not isinstance(raw, Mapping):
        raise InvalidRecord({"record": "must be an object"})
    errors: dict[str, str] = {}
    record = Record(
        sku=_sku(raw, errors),
        name=_line(raw, "name", MAX_NAME, errors),
        category=_line(raw, "category", MAX_CATEGORY, errors),
        description=_text(raw, "description", MAX_DESCRIPTION, errors),
        price=_price(raw, errors),
        stock=_stock(raw, errors),
    )
    if errors:
        raise InvalidRecord(errors)
    return record


def _text(raw: Mapping[str, object], field: str, longest: int, errors: dict[str, str]) -> str:
    value = raw.get(field)
    if not isinstance(value, str):
        errors[field] = "must be text" if field in raw else "is missing"
        return ""
    if len(value) > ROOM * longest:
        errors[field] = f"has {len(value)} characters; {longest} are allowed"
        return ""
    if not value.isascii() and has_too_many_marks(value):
        errors[field] = f"has more than {MAX_MARKS} combining characters in a row"
        return ""
    value = unicodedata.normalize("NFC", value.replace("\r\n", "\n")).strip()
    if not value:
        errors[field] = "is empty"
    elif len(value) > longest:
        errors[field] = f"has {len(value)} characters; {longest} are allowed"
    elif unprintable := find_unprintable(value):
        errors[field] = f"holds the unprintable character U+{ord(unprintable[0]):04X}"
    return value


def has_too_many_marks(text: str) -> bool:
    in_a_row = 0
    for character in text:
        in_a_row = in_a_row + 1 if unicodedata.combining(character) else 0
        if in_a_row > MAX_MARKS:
            return True
    return False


def _line(raw: Mapping[str, object], field: str, longest: int, errors: dict[str, str]) -> str:
    return " ".join(_text(raw, field, longest, errors).split())


def _sku(raw: Mapping[str, object], errors: dict[str, str]) -> str:
    sku = _text(raw, "sku", MAX_SKU, errors).upper()
    if "sku" not in errors and not sku_matches(sku):
        errors["sku"] = "must be made of the letters A to Z, digits and hyphens, and not begin with a hyphen"
    return sku


def _price(raw: Mapping[str, object], errors: dict[str, str]) -> Decimal:
    value = raw.get("price")
    # Numbers with a fraction are Decimals here, because the feed is parsed with parse_float=Decimal.
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        errors["price"] = 'must be a decimal such as "12.34"' if "price" in raw else "is missing"
        return Decimal(0)
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        errors["price"] = f"has {len(value)} characters; {MAX_DIGITS} are allowed"
        return Decimal(0)
    try:
        if isinstance(value, str) and not decimal_matches(value := value.strip()):
            raise InvalidOperation
        price = Decimal(value)
        if not 0 <= price <= MAX_PRICE:
            errors["price"] = f"must be between 0 and {MAX_PRICE}"
            # Of a number such as 1e1000000 even abs() raises Overflow.
            return Decimal(0)
        if price != (price := price.quantize(Decimal("0.01"))):
            errors["price"] = "has more than two decimals"
    except InvalidOperation:
        errors["price"] = 'must be a decimal such as "12.34"'
        return Decimal(0)
    # A Decimal can be -0, and a page would show the sign.
    return abs(price)


def _stock(raw: Mapping[str, object], errors: dict[str, str]) -> int:
    value = raw.get("stock")
    if isinstance(value, bool) or not isinstance(value, int):
        errors["stock"] = "must be a whole number" if "stock" in raw else "is missing"
        return 0
    if not 0 <= value <= MAX_STOCK:
        errors["stock"] = f"must be between 0 and {MAX_STOCK}"
    return value
