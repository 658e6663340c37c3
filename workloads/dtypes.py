"""Operand number formats: width in bits and, for grouped formats, the scale overhead.

Leaf module: every package may import it.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import ChipsmithError, nearest


@dataclass(frozen=True, slots=True)
class DType:
    """A number format.

    Attributes:
        name: canonical name, for example ``int8``.
        bits: stored bits per element (ternary is stored in 2 bits).
        is_float: floating point or not.
        code: small integer used in compiled kernels.
    """

    name: str
    bits: int
    is_float: bool
    code: int


_ROWS = (
    ("int1", 1, False),
    ("ternary", 2, False),
    ("int2", 2, False),
    ("int3", 3, False),
    ("int4", 4, False),
    ("int5", 5, False),
    ("int6", 6, False),
    ("int7", 7, False),
    ("int8", 8, False),
    ("int16", 16, False),
    ("int32", 32, False),
    ("fp8", 8, True),
    ("fp16", 16, True),
    ("bf16", 16, True),
    ("fp32", 32, True),
)
DTYPES: dict[str, DType] = {n: DType(n, b, f, i) for i, (n, b, f) in enumerate(_ROWS)}


def dtype(name: str, where: str = "dtype") -> DType:
    """Look a format up by name.

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    found = DTYPES.get(name)
    if found is None:
        raise ChipsmithError(where, name, nearest(name, DTYPES))
    return found


def stored_bits(elements: int, bits: int, group_size: int = 0, scale_bits: int = 16) -> int:
    """Bits that ``elements`` numbers take, with one scale a group where ``group_size`` > 0."""
    groups = -(-elements // group_size) if group_size > 0 else 0
    return elements * bits + groups * scale_bits


def stored_bytes(elements: int, bits: int, group_size: int = 0, scale_bits: int = 16) -> int:
    """Whole bytes for :func:`stored_bits` (rounded up)."""
    return -(-stored_bits(elements, bits, group_size, scale_bits) // 8)
