"""Reads amounts of memory as Docker and Kubernetes write them."""

import re

MIB = 2**20
_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_DECIMAL = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def docker_mb(text: str) -> float:
    """`1g`, `512m`, `512mb`, `512Mi`, `1.5GiB` or bytes, as Docker reads them (k, m, g are powers of 1024), in MiB.

    Raises ValueError when it is none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])i?)?b?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is no amount of memory; write 512m or 1g")
    return float(match[1]) * _BINARY[(match[2] or "").lower()] / MIB


def kubernetes_mb(text: str) -> float:
    """A Kubernetes quantity in MiB: Mi and Gi are powers of 1024, M and G powers of 1000, m thousandths.

    Raises ValueError when it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(?:([KMGT])i|([mkMGT]?))", text)
    if not match:
        raise ValueError(f"{text!r} is no Kubernetes quantity")
    unit = _BINARY[match[2].lower()] if match[2] else _DECIMAL[match[3]]
    return float(match[1]) * unit / MIB
