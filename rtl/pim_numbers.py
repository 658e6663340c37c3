"""What the unit computes, bit for bit: products of a column, the adder tree, the accumulator.

int8: products and sums are exact; the accumulator wraps at its width. fp16 and bf16: a product is exact in fp32 (its
significand has at most 22 bits), every addition of the tree and of the accumulator is rounded to fp32, to nearest, ties
to even. fp16 operands below the normal range keep their value, bf16 ones count as zero; fp32 results below 2**-126
become zero of the same sign; what is no number is 0x7fc00000. Operands and results are bit patterns in int64 arrays
(int8: signed values).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rtl.design import IntArray
from rtl.pim_params import PimBankParams
from rtl.systolic import wrap
from workloads.errors import ChipsmithError

Floats = NDArray[np.float32]
QUIET_NAN = 0x7FC00000
_SMALLEST_NORMAL = 2.0**-126


def to_fp32(params: PimBankParams, bits: IntArray) -> Floats:
    """Values of fp16 or bf16 bit patterns."""
    raw = bits.astype(np.uint16)
    if params.dtype == "fp16":
        return raw.view(np.float16).astype(np.float32)
    flushed = np.where(raw & np.uint16(0x7F80), raw, raw & np.uint16(0x8000))
    return (flushed.astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_fp32(values: Floats) -> IntArray:
    """Bit patterns of fp32 values, with one pattern for what is no number."""
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)
    return np.where(np.isnan(values), np.int64(QUIET_NAN), raw)


def flush(values: Floats) -> Floats:
    """Results below the normal range become zero of their sign."""
    return np.where(np.abs(values) < _SMALLEST_NORMAL, np.copysign(np.float32(0), values), values).astype(np.float32)


def add_fp32(one: Floats, other: Floats) -> Floats:
    """One addition as the unit does it."""
    with np.errstate(invalid="ignore", over="ignore"):
        return flush(one + other)


def multiply(one: Floats, other: Floats) -> Floats:
    """Products, exact unless they leave the normal range."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        exact = one.astype(np.float64) * other.astype(np.float64)
        tiny = np.abs(exact) < _SMALLEST_NORMAL
        return np.where(tiny, np.copysign(0.0, exact), exact).astype(np.float32)


def _tree(products: Floats) -> Floats:
    """Sum over the last axis: neighbours first, level by level."""
    while products.shape[-1] > 1:
        products = add_fp32(products[..., 0::2], products[..., 1::2])
    return products[..., 0]


def column_sums(params: PimBankParams, weights: IntArray, inputs: IntArray) -> IntArray:
    """The tree's sum of each column.

    Args:
        params: the unit.
        weights, inputs: (columns, lanes) operands.

    Returns:
        (columns,) integers, or fp32 bit patterns.

    Raises:
        ChipsmithError: for shapes that differ or a wrong number of lanes.
    """
    if weights.shape != inputs.shape or weights.ndim != 2 or weights.shape[1] != params.lanes:
        raise ChipsmithError("reference.shapes", (weights.shape, inputs.shape), f"both columns x {params.lanes} lanes")
    if not params.format.is_float:
        found: IntArray = (weights * inputs).sum(axis=1, dtype=np.int64)
        return found
    return from_fp32(_tree(multiply(to_fp32(params, weights), to_fp32(params, inputs))))


def preset_value(params: PimBankParams, element: int) -> int:
    """An operand as the accumulator holds it: sign-extended, or the same value in fp32."""
    if not params.format.is_float:
        return int(wrap(np.array([element], np.int64), params.acc_bits)[0])
    return int(from_fp32(to_fp32(params, np.array([element], np.int64)))[0])


def accumulate(params: PimBankParams, start: int, sums: IntArray) -> int:
    """The accumulator after adding column sums one after the other to ``start``."""
    if not params.format.is_float:
        return int(wrap(np.array([start + int(sums.sum())], np.int64), params.acc_bits)[0])
    total = np.array([start], np.uint32).view(np.float32)
    for value in sums.astype(np.uint32).view(np.float32):
        total = add_fp32(total, np.array([value], np.float32))
    return int(from_fp32(total)[0])


def reference_gemm(params: PimBankParams, a: IntArray, w: IntArray) -> IntArray:
    """C[m x n] = A[m x k] W[k x n]: outputs a bank each, inputs a column after the other, one vector at a time.

    Args:
        params: the unit.
        a: the matrix in the banks. w: vectors, one a column of ``w``. Both are operands; k is padded with zeros.

    Returns:
        What the accumulators hold: integers, or fp32 bit patterns.

    Raises:
        ChipsmithError: for shapes that do not meet.
    """
    if a.ndim != 2 or w.ndim != 2 or a.shape[1] != w.shape[0]:
        raise ChipsmithError("reference.shapes", (a.shape, w.shape), "A is m x k and W is k x n")
    padding = (0, -a.shape[1] % params.lanes)
    rows = np.pad(a, ((0, 0), padding)).reshape(a.shape[0], -1, params.lanes)
    vectors = np.pad(w, (padding, (0, 0))).T.reshape(w.shape[1], -1, params.lanes)
    found = [[accumulate(params, 0, column_sums(params, row, vector)) for vector in vectors] for row in rows]
    return np.array(found, np.int64).reshape(a.shape[0], w.shape[1])
