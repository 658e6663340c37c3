"""Energy and area of multipliers and adders of any number format.

Only int8, int32, fp16 and fp32 are published. Everything else follows power laws through the two points of its class
in the number of partial-product bits (multipliers) or in the width (adders): the rules stand in each constant set.
"""

from __future__ import annotations

import numpy as np

from models.constants import ConstantSet
from models.technology import Floats
from workloads.dtypes import dtype

#: Significand bits with the hidden bit (fp8 as E4M3).
SIGNIFICAND_BITS = {"fp8": 4, "bf16": 8, "fp16": 11, "fp32": 24}
#: A product with one of these is a choice among -x, 0 and x: one row of partial products.
ONE_ROW = ("ternary", "int1")


def multiplier_width(name: str) -> int:
    """Bits of an operand that a multiplier array sees."""
    if name in ONE_ROW:
        return 1
    return SIGNIFICAND_BITS.get(name, dtype(name).bits)


def adder_width(name: str) -> int:
    """Bits that an adder of this format adds."""
    return SIGNIFICAND_BITS.get(name, dtype(name).bits)


def _law(small: Floats, large: Floats, at: float, small_at: float, large_at: float) -> Floats:
    """Power law through two points, evaluated at ``at``; one point is returned as it stands."""
    if at == small_at:
        return small
    exponent = np.log(large / small) / np.log(large_at / small_at)
    law: Floats = small * np.exp(exponent * np.log(at / small_at))
    return law


def multiply(constants: ConstantSet, unit: str, act: str, weight: str, node_nm: Floats) -> Floats:
    """Cost of one multiplication ``act`` x ``weight`` at nominal supply.

    Args:
        constants: the set.
        unit: ``pj`` or ``um2``.
        act, weight: number formats; a float operand makes it a floating-point multiplier.
        node_nm: nodes, shape (n,).
    """
    rows = multiplier_width(act) * multiplier_width(weight)
    floating = dtype(act).is_float or dtype(weight).is_float
    names, points = (("fp16", "fp32"), (121, 576)) if floating else (("int8", "int32"), (64, 1024))
    small, large = (constants.at(f"{name}_mult_{unit}", node_nm) for name in names)
    return _law(small, large, rows, *points)


def add(constants: ConstantSet, unit: str, name: str, node_nm: Floats) -> Floats:
    """Cost of one addition in format ``name``; ``unit`` and shapes as in :func:`multiply`."""
    floating = dtype(name).is_float
    names, points = (("fp16", "fp32"), (11, 24)) if floating else (("int8", "int32"), (8, 32))
    small, large = (constants.at(f"{width}_add_{unit}", node_nm) for width in names)
    return _law(small, large, adder_width(name), *points)
