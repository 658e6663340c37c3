from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtl.pim_numbers import (
    QUIET_NAN,
    accumulate,
    add_fp32,
    column_sums,
    from_fp32,
    preset_value,
    reference_gemm,
    to_fp32,
)
from rtl.pim_params import PimBankParams
from rtl.pim_stimulus import directed_columns, float_corners, random_operands
from workloads.errors import ChipsmithError

INT8, FP16, BF16 = (
    PimBankParams(lanes=4),
    PimBankParams("neupims", "fp16", lanes=4),
    PimBankParams("aim", "bf16", lanes=4),
)
SMALLEST = Fraction(1, 2**126)


def value(params: PimBankParams, bits: int) -> float:
    """An operand by the definition of its format."""
    form = params.format
    sign = -1.0 if bits >> form.bits - 1 else 1.0
    exponent = bits >> form.mantissa_bits & (1 << form.exponent_bits) - 1
    mantissa = bits & (1 << form.mantissa_bits) - 1
    if exponent == (1 << form.exponent_bits) - 1:
        return math.nan if mantissa else sign * math.inf
    if exponent == 0:
        return sign * (math.ldexp(mantissa, 1 - form.bias - form.mantissa_bits) if form.subnormals else 0.0)
    return sign * math.ldexp(1 + mantissa / (1 << form.mantissa_bits), exponent - form.bias)


def rounded(exact: Fraction) -> int:
    """Magnitude bits of an exact fp32 result, to nearest, ties to even, flushed below the normal range."""
    if exact < SMALLEST:
        return 0
    scale = exact.numerator.bit_length() - exact.denominator.bit_length()
    scale -= exact < Fraction(2) ** scale
    steps = exact / Fraction(2) ** (scale - 23)
    whole, rest = divmod(steps.numerator, steps.denominator)
    twice = 2 * rest - steps.denominator
    whole += twice > 0 or (twice == 0 and whole & 1)
    return min((scale + 126 << 23) + whole, 0x7F800000)


@pytest.mark.parametrize("params", [FP16, BF16], ids=["fp16", "bf16"])
@given(bits=st.integers(0, 0xFFFF))
def test_operands_have_the_value_of_their_format(params: PimBankParams, bits: int) -> None:
    have, want = float(to_fp32(params, np.array([bits], np.int64))[0]), value(params, bits)
    assert (math.isnan(have) and math.isnan(want)) or (
        have == want and math.copysign(1, have) == math.copysign(1, want)
    )


@given(one=st.floats(width=32, allow_subnormal=False), other=st.floats(width=32, allow_subnormal=False))
def test_additions_are_rounded_to_nearest_even(one: float, other: float) -> None:
    have = int(from_fp32(add_fp32(np.array([one], np.float32), np.array([other], np.float32)))[0])
    if math.isnan(one) or math.isnan(other) or (math.isinf(one) and math.isinf(other) and one != other):
        assert have == QUIET_NAN
    elif math.isinf(one) or math.isinf(other):
        assert have == (0xFF800000 if one + other < 0 else 0x7F800000)
    elif exact := Fraction(one) + Fraction(other):
        assert have == rounded(abs(exact)) | (exact < 0) << 31
    else:
        assert have == (0x80000000 if math.copysign(1, one) + math.copysign(1, other) == -2 else 0)


@pytest.mark.parametrize("params", [FP16, BF16], ids=["fp16", "bf16"])
@given(data=st.data())
def test_a_product_is_exact_or_leaves_the_range(params: PimBankParams, data: st.DataObject) -> None:
    pair = [data.draw(st.integers(0, 0xFFFF) | st.sampled_from(float_corners(params))) for _ in range(2)]
    column = np.array([[pair[0], 0, 0, 0]], np.int64), np.array([[pair[1], 0, 0, 0]], np.int64)
    have, (one, other) = int(column_sums(params, *column)[0]), (value(params, bits) for bits in pair)
    if math.isnan(one) or math.isnan(other) or (math.isinf(one) and not other) or (math.isinf(other) and not one):
        assert have == QUIET_NAN
    elif math.isinf(one) or math.isinf(other):
        assert have == (0xFF800000 if (one < 0) != (other < 0) else 0x7F800000)
    else:
        exact = Fraction(one) * Fraction(other)
        want = rounded(abs(exact))
        assert have & 0x7FFFFFFF == want
        assert not want or have >> 31 == (exact < 0)
        assert want in (0, 0x7F800000) or Fraction(float(np.array([want], np.uint32).view(np.float32)[0])) == abs(exact)


def test_the_tree_adds_neighbours_first() -> None:
    one, tiny = 0x3C00, 0x0400  # 1 and 2**-14
    column = np.array([[one, tiny, tiny, tiny]], np.int64)
    inputs = np.array([[one, 0x0800, 0x0800, 0x0800]], np.int64)  # products of 2**-27
    assert int(column_sums(FP16, column, inputs)[0]) == 0x3F800000  # 2**-26 is lost at 1, as 2**-27 before it
    assert int(column_sums(FP16, column[:, ::-1].copy(), inputs[:, ::-1].copy())[0]) == 0x3F800000


def test_integers_are_exact_and_wrap_at_their_width() -> None:
    full = np.full((3, 4), -128, np.int64)
    assert column_sums(INT8, full, full).tolist() == [65536] * 3
    narrow = PimBankParams(lanes=4, acc_bits=18)
    assert accumulate(INT8, 0, column_sums(INT8, full, full)) == 196608
    assert accumulate(narrow, 0, column_sums(narrow, full, full)) == 196608 - 2**18
    assert accumulate(narrow, -(2**17), np.array([-1], np.int64)) == 2**17 - 1


def test_presets_keep_their_value() -> None:
    assert preset_value(INT8, -7) == -7
    assert preset_value(BF16, 0xBF80) == 0xBF800000
    assert preset_value(BF16, 0x8001) == 0x80000000
    assert preset_value(BF16, 0x7FA0) == QUIET_NAN
    assert preset_value(PimBankParams("aim", "fp16", lanes=4), 0x0001) == 0x33800000  # 2**-24


def test_a_product_of_matrices_goes_column_by_column() -> None:
    rng = np.random.default_rng(3)
    a, w = random_operands(INT8, rng, (5, 10)), random_operands(INT8, rng, (10, 2))
    assert np.array_equal(reference_gemm(INT8, a, w), a @ w)
    ones = np.full((1, 9), 0x3C00, np.int64)
    assert reference_gemm(FP16, ones, ones.T).tolist() == [[0x41100000]]  # 9


def test_shapes_that_do_not_meet_are_refused() -> None:
    with pytest.raises(
        ChipsmithError, match=r"^reference.shapes: got \(\(2, 3\), \(4, 1\)\); A is m x k and W is k x n$"
    ):
        reference_gemm(INT8, np.zeros((2, 3), np.int64), np.zeros((4, 1), np.int64))
    with pytest.raises(ChipsmithError, match=r"both columns x 4 lanes$"):
        column_sums(INT8, np.zeros((1, 3), np.int64), np.zeros((1, 3), np.int64))


@pytest.mark.parametrize("params", [FP16, BF16], ids=["fp16", "bf16"])
def test_directed_columns_meet_every_rule(params: PimBankParams) -> None:
    columns = [(np.array([w], np.int64), np.array([x], np.int64)) for w, x in directed_columns(params)]
    sums = {int(column_sums(params, *column)[0]) for column in columns}
    assert {QUIET_NAN, 0x7F800000, 0x3F800000, 0x3F800001, 0x3F800002, 0x40000000} <= sums
    assert {0x3F7FFFFF, 0x3F800000} <= sums  # borrowed from a one
