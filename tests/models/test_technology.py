"""Scaling between nodes: published factors, interpolation, and the one warning outside the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chip import ChipTable, load_chip
from models.prices import price
from models.technology import (
    area_factor,
    delay_factor,
    energy_factor,
    log_curve,
    nominal_vdd,
    polynomial_factor,
    technology,
)

NM = st.floats(7, 180)


def at(*nodes: float) -> np.ndarray:
    return np.array(nodes, np.float64)


def test_area_factors_are_the_published_ones() -> None:
    published = {180: 19, 130: 6.4, 90: 2.8, 65: 1.5, 45: 1, 32: 0.46, 20: 0.21, 16: 0.19, 14: 0.17, 10: 0.1, 7: 0.059}
    nodes = at(*published)
    assert area_factor(at(45), nodes) == pytest.approx(list(published.values()), rel=1e-12)


def test_energy_above_45_nm_follows_the_published_polynomial() -> None:
    nominal_130, nominal_45 = 7.171 * 1.3**2 - 6.709 * 1.3 + 2.904, 1.018 * 0.9**2 - 0.3107 * 0.9 + 0.1539
    assert energy_factor(at(45), at(130))[0] == pytest.approx(nominal_130 / nominal_45, rel=1e-12)


def test_energy_at_7_nm_is_the_mean_ratio_of_eight_published_operations() -> None:
    at_45 = np.array([0.03, 0.1, 0.4, 0.9, 0.2, 3.1, 1.1, 3.7])
    at_7 = np.array([0.007, 0.03, 0.16, 0.38, 0.07, 1.48, 0.34, 1.31])
    geometric_mean = np.exp(np.mean(np.log(at_7 / at_45)))
    assert energy_factor(at(45), at(7))[0] == pytest.approx(geometric_mean, rel=2e-4)
    at_7_nm, at_45_nm = 0.1776 * 0.7**2 - 0.09097 * 0.7 + 0.02447, 1.018 * 0.9**2 - 0.3107 * 0.9 + 0.1539
    assert polynomial_factor(at(45), at(7))[0] == pytest.approx(at_7_nm / at_45_nm, rel=1e-12)


def test_delay_falls_from_180_to_7_nm() -> None:
    factors = delay_factor(at(45), at(180, 45, 7))
    assert factors[0] > factors[1] == 1.0 > factors[2]


def test_nominal_supply_at_listed_nodes() -> None:
    assert nominal_vdd(at(180, 45, 28, 7)) == pytest.approx([1.8, 0.9, 0.9, 0.7], rel=1e-12)


def test_log_curve_interpolates_a_power_law_exactly_and_continues_it() -> None:
    curve = log_curve({1: 2.0, 4: 8.0 * 4, 16: 8.0 * 4 * 16})
    assert curve(at(0.5, 1, 2, 4, 8, 32)) == pytest.approx([0.5, 2, 8, 32, 128, 2048], rel=1e-12)
    assert curve.ends == pytest.approx((1, 16))
    assert log_curve({45: 3.0})(at(7, 180)) == pytest.approx([3, 3])


@given(NM, NM)
def test_factors_are_monotone_in_the_node_and_reverse_each_other(a: float, b: float) -> None:
    small, large = at(min(a, b)), at(max(a, b))
    for factor in (area_factor, energy_factor):
        assert factor(small, large)[0] >= 1 - 1e-12
        assert factor(small, large)[0] * factor(large, small)[0] == pytest.approx(1)


def test_a_node_outside_the_published_range_warns_once_a_table() -> None:
    tpu = load_chip("tpu_v4")
    with pytest.warns(RuntimeWarning) as caught:
        prices = price(ChipTable(tpu, {"technology.node_nm": [5.0, 3.0, 7.0]}))
    text = "technology.node_nm 5 is outside the published 7 to 180 nm: extrapolated"
    assert [str(each.message) for each in caught] == [text]
    assert prices.area_mm2[1] < prices.area_mm2[0] < prices.area_mm2[2]


def test_published_range_is_that_of_the_table() -> None:
    assert technology().range_nm == technology().area.ends == (7, 180)
