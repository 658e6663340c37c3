"""What the bench of a PIM bank unit is told, the operands it draws, and the coverage that it must reach."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtl.design import IntArray
from rtl.pim_params import PimBankParams
from rtl.pim_roles import ROLES, binding, has_two_buffers

CORNERS = {"int8": (-128, 127, 0, -1, 1, -127)}


def float_corners(params: PimBankParams) -> tuple[int, ...]:
    """Bit patterns of zeros, ones, the largest and smallest numbers, infinities, and what is no number."""
    form = params.format
    top, one = ((1 << form.exponent_bits) - 1) << form.mantissa_bits, form.bias << form.mantissa_bits
    mantissa = (1 << form.mantissa_bits) - 1
    positive = (0, 1, mantissa, mantissa + 1, one, one + 1, one - 1, top - 1, top, top | 1 << form.mantissa_bits - 1)
    return positive + tuple(value | 1 << form.bits - 1 for value in positive)


def random_operands(
    params: PimBankParams, numbers: np.random.Generator, shape: tuple[int, ...], special: float = 0.0
) -> IntArray:
    """Operands: int8 values, or bit patterns of floats near one; a share ``special`` is drawn from the corners."""
    form = params.format
    if not form.is_float:
        values = numbers.integers(-128, 128, size=shape, dtype=np.int64)
        corners = np.array(CORNERS["int8"], np.int64)
    else:
        exponent = numbers.integers(form.bias - 4, form.bias + 4, size=shape, dtype=np.int64)
        mantissa = numbers.integers(0, 1 << form.mantissa_bits, size=shape, dtype=np.int64)
        values = numbers.integers(0, 2, size=shape) << form.bits - 1 | exponent << form.mantissa_bits | mantissa
        corners = np.array(float_corners(params), np.int64)
    mixed: IntArray = np.where(numbers.random(shape) < special, numbers.choice(corners, size=shape), values)
    return mixed


Column = tuple[tuple[int, ...], tuple[int, ...]]


def _power(params: PimBankParams, exponent: int, mantissa: int = 0, sign: int = 0) -> int:
    """Bit pattern of (1 + mantissa / 2**bits) * 2**exponent; fp16 goes on below its normal range by powers of two."""
    form = params.format
    if exponent <= -form.bias:
        return sign << form.bits - 1 | 1 << form.mantissa_bits + form.bias + exponent - 1
    return sign << form.bits - 1 | exponent + form.bias << form.mantissa_bits | mantissa


def _product(params: PimBankParams, exponent: int, mantissa: int = 0, sign: int = 0) -> tuple[int, int]:
    """Two operands whose product is (1 + mantissa / 2**bits) * 2**exponent."""
    return _power(params, exponent // 2, mantissa, sign), _power(params, exponent - exponent // 2)


def _float_columns(params: PimBankParams) -> list[list[tuple[int, int]]]:
    """Products of at most four lanes whose sums meet each rule of fp32 addition; the first two are added first."""
    form, nothing = params.format, (0, 0)
    one, minus, ones = _product(params, 0), _product(params, 0, 0, 1), (1 << form.mantissa_bits) - 1
    top = ((1 << form.exponent_bits) - 1) << form.mantissa_bits
    negative = 1 << form.bits - 1
    unit = _power(params, 0)
    step = form.mantissa_bits + 1
    ties = [[one, _product(params, -23), _product(params, -24)], [one, nothing, _product(params, -24)]]
    sticky = [[one, nothing, _product(params, -24), _product(params, -24 - k)] for k in range(1, 23)]
    borrow = [[one, nothing, _product(params, -24 - k, 0, 1)] for k in range(4)]
    carry = [[_product(params, -step * i, ones) for i in range(-(-25 // step))]]  # more ones than fp32 holds
    cancel = [[minus, one], [one, minus, minus], [one, nothing, _product(params, -1, ones, 1)], [(negative, unit)] * 4]
    wide = [[(top - 1, unit)] * 4, [(top - 1, top - 1), (top - 1 | negative, unit)], [(top - 1, top - 1)] * 3]
    low, least = 1 << form.mantissa_bits, _power(params, -1)
    small = [[(1, unit)], [(ones, unit), (1 | negative, unit)], [(1, 1)], [(low, low)], [(low, unit)], [(low, least)]]
    small += [[(low | low >> 1, unit), (low | negative, unit)]]
    special = [[(top, unit), (top | negative, unit)], [(top, unit), one], [(top, 0)], [(0, top)], [(negative, top)]]
    special += [[(top | 1, unit)], [(unit, top | 1)], [one, (top | negative, unit)], [(top, top), (top, unit)]]
    return ties + sticky + borrow + carry + cancel + wide + small + special


def directed_columns(params: PimBankParams) -> list[Column]:
    """Columns (weights, inputs) that each meet one rule of the arithmetic; lanes beyond the fourth are zero."""
    if not params.format.is_float:
        pairs = ((-128, -128), (-128, 127), (127, -128), (127, 127), (-1, -1), (0, -128))
        full = [[pair] * params.lanes for pair in pairs]
        found = full + [[(0, 0)] * lane + [(-128, 127)] for lane in range(params.lanes)]
    else:
        found = _float_columns(params)
    wide = [(column * 2)[: params.lanes] if len(column) > params.lanes else column for column in found]
    padded = [column + [(0, 0)] * (params.lanes - len(column)) for column in wide]
    return [(tuple(w for w, _ in column), tuple(x for _, x in column)) for column in padded]


def document(params: PimBankParams, _cycles: object, _seed: int) -> dict[str, Any]:
    """What ``rtl.benches.bench_pim`` is told: schedules of the channel model with their cycles, for every seed."""
    from rtl.pim_traffic import model_schedules, shared_schedules

    return {
        "schedules": [one.document() for one in model_schedules(params)],
        "shared": [one.document() for one in shared_schedules(params)],
    }


INT_BINS = ("operand.min", "operand.max", "operand.zero", "operand.minus_one", "operand.min_min")
FLOAT_BINS = ("operand.nan", "operand.inf", "operand.subnormal", "operand.zero", "sum.nan", "sum.inf", "sum.number")
RESET_BINS = ("reset.busy", "reset.idle")
COMPOSITE_BINS = ("flag.keep", "flag.restart", "count.short", "count.long")
BOTH_BINS = ("bus.both",)
SAME_ROW_BINS = ("same_row.host", "same_row.unit")
WRAP_BINS = ("wrap.sum",)


def command_bins(params: PimBankParams) -> tuple[str, ...]:
    """Each command issued, and each that something delays issued in the first clock that allows it."""
    names = ROLES[params.spec.program]
    return tuple(f"cmd.{name}" for name in names) + tuple(f"tight.{name}" for name in names)


def required_bins(params: PimBankParams, _netlist: bool = False) -> tuple[str, ...]:
    """Bins that a full run of the bench must hit; a netlist hides nothing that they need."""
    bins = command_bins(params) + RESET_BINS + BOTH_BINS
    bins += tuple(dict.fromkeys(one.bin for one in binding(params.bench_spec)))
    bins += FLOAT_BINS if params.format.is_float else INT_BINS
    if params.spec.program == "newton":
        bins += COMPOSITE_BINS[: 4 if params.columns >= params.spec.options["composite_min"] else 3]
    if has_two_buffers(params.spec):
        bins += SAME_ROW_BINS
    if not params.format.is_float and params.acc_bits <= params.tree_bits + 4:
        bins += WRAP_BINS
    return bins
