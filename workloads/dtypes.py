"""Operand number formats: width in bits, how elements are packed, and the scales that a format or a group brings.

``DTYPES`` are formats that arithmetic is built for. ``STORED`` are formats that operands are only kept in: an engine
expands them on load, so a trace may name them and a chip may not.

Leaf module: every package may import it.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import ChipsmithError, nearest

SCALE_BITS = 16  # of one scale of a group (fp16)


@dataclass(frozen=True, slots=True)
class DType:
    """A number format.

    Attributes:
        name: canonical name, for example ``int8``.
        bits: stored bits per element (ternary is stored in 2 bits).
        is_float: floating point or not.
        code: small integer used in compiled kernels.
        block: elements that share one scale of the format's own, 0 = none.
        scale_bits: bits of that scale.
        pack: (elements, bits) that are packed together where that is fewer bits than ``bits`` each.
    """

    name: str
    bits: int
    is_float: bool
    code: int
    block: int = 0
    scale_bits: int = 0
    pack: tuple[int, int] = (0, 0)


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
_BLOCK = len(_ROWS)
#: Microscaling formats: 32 elements share an 8-bit power of two (OCP Microscaling Formats v1.0, Table 1). NVFP4: 16
#: elements share an fp8 scale (NVIDIA Blackwell). ternary5: five ternary digits in a byte, 3^5 = 243 <= 256.
STORED: dict[str, DType] = {
    "mxfp4": DType("mxfp4", 4, True, _BLOCK, 32, 8),
    "mxfp6": DType("mxfp6", 6, True, _BLOCK + 1, 32, 8),
    "mxfp8": DType("mxfp8", 8, True, _BLOCK + 2, 32, 8),
    "mxint8": DType("mxint8", 8, False, _BLOCK + 3, 32, 8),
    "nvfp4": DType("nvfp4", 4, True, _BLOCK + 4, 16, 8),
    "ternary5": DType("ternary5", 2, False, _BLOCK + 5, pack=(5, 8)),
}


def dtype(name: str, where: str = "dtype") -> DType:
    """Look a format up by name.

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    found = DTYPES.get(name) or STORED.get(name)
    if found is None:
        raise ChipsmithError(where, name, nearest(name, (*DTYPES, *STORED)))
    return found


def element_bits(elements: int, form: DType) -> int:
    """Bits of ``elements`` numbers without any scale; packed formats fill whole packs."""
    count, bits = form.pack
    return -(-elements // count) * bits if count else elements * form.bits


def scale_bits(elements: int, form: DType, group_size: int = 0) -> int:
    """Bits of the scales: the format's own, else 16 for each group of ``group_size`` > 0."""
    size, bits = (form.block, form.scale_bits) if form.block else (group_size, SCALE_BITS)
    return -(-elements // size) * bits if size > 0 else 0


def format_bytes(elements: int, name: str, group_size: int = 0) -> int:
    """Whole bytes (rounded up) that ``elements`` numbers of a format take, its own or its groups' scales included."""
    form = dtype(name)
    return -(-(element_bits(elements, form) + scale_bits(elements, form, group_size)) // 8)


def stored_bits(elements: int, bits: int, group_size: int = 0, scale_width: int = SCALE_BITS) -> int:
    """Bits that ``elements`` numbers take, with one scale a group where ``group_size`` > 0."""
    groups = -(-elements // group_size) if group_size > 0 else 0
    return elements * bits + groups * scale_width


def stored_bytes(elements: int, bits: int, group_size: int = 0, scale_width: int = SCALE_BITS) -> int:
    """Whole bytes for :func:`stored_bits` (rounded up); :func:`format_bytes` knows the format's own scales too."""
    return -(-stored_bits(elements, bits, group_size, scale_width) // 8)
