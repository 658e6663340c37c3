"""Static RAM: published points, and monotone in capacity, port width, banks and node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.constants import constant_set
from models.sram import ANCHORS, access_pj_per_byte, bitcell_um2, block_mm2, macro_bytes

CAPACITY = st.integers(64, 2**28)
PORT = st.integers(1, 4096)
NODE = st.sampled_from([5.0, 7.0, 10.0, 12.0, 16.0, 22.0, 28.0, 45.0, 65.0, 130.0])
SETS = st.sampled_from(["default", "horowitz_2014"])


def pj(capacity: float, port: float = 8, banks: float = 1, node: float = 45, name: str = "default") -> float:
    nodes, constants = np.array([float(node)]), constant_set(name)
    anchors = [constants.at(anchor, nodes) for anchor in ANCHORS]
    wire = constants.at("wire_pj_per_byte_mm", nodes)
    sizes = (np.array([float(x)]) for x in (capacity, port, banks))
    return float(access_pj_per_byte(anchors, wire, bitcell_um2(nodes), *sizes)[0])


def mm2(capacity: float, node: float) -> float:
    return float(block_mm2(np.array([capacity]), bitcell_um2(np.array([node])))[0])


@pytest.mark.parametrize(("capacity", "word_pj"), [(8192, 10.0), (32768, 20.0), (1048576, 100.0)])
def test_published_points_at_45_nm(capacity: int, word_pj: float) -> None:
    assert pj(capacity) * 8 == pytest.approx(word_pj, rel=1e-9)


@pytest.mark.parametrize(("capacity", "word_pj"), [(8192, 7.5), (32768, 8.5), (1048576, 14.0)])
def test_published_points_at_7_nm(capacity: int, word_pj: float) -> None:
    assert pj(capacity, node=7) * 8 == pytest.approx(word_pj, rel=1e-9)


def test_wide_port_is_narrow_macros_side_by_side() -> None:
    one = pj(32768)
    four = pj(4 * 32768, port=32)
    assert four > one  # the same macros, further from the edge
    assert four - one == pytest.approx((np.sqrt(mm2(4 * 32768, 45)) - np.sqrt(mm2(32768, 45))) / 2 * 0.92, rel=0.2)


def test_narrow_port_pays_for_the_whole_word() -> None:
    assert pj(8192, port=1) == pytest.approx(10.0)


def test_macro_is_at_least_a_register_file_and_at_most_the_largest_published() -> None:
    sizes = macro_bytes(np.array([64.0, 2.0**20, 2.0**26]), np.array([8.0, 16.0, 8.0]), np.array([1.0, 4.0, 1.0]))
    assert sizes.tolist() == [512.0, 2.0**17, 2.0**20]


@given(CAPACITY, CAPACITY, PORT, NODE, SETS)
def test_access_energy_grows_with_capacity(a: int, b: int, port: int, node: float, name: str) -> None:
    small, large = min(a, b), max(a, b)
    assert pj(small, port, node=node, name=name) <= pj(large, port, node=node, name=name) * (1 + 1e-12)


@given(CAPACITY, PORT, PORT, NODE, SETS)
def test_energy_of_a_whole_access_grows_with_the_port(capacity: int, a: int, b: int, node: float, name: str) -> None:
    narrow, wide = min(a, b), max(a, b)
    per_access = [pj(capacity, port, node=node, name=name) * port for port in (narrow, wide)]
    assert per_access[0] <= per_access[1] * (1 + 1e-12)


def test_small_macros_take_less_than_the_published_register_file() -> None:
    # Yang et al., ASPLOS 2020, Table 3: 512 B of registers, 0.96 pJ per 16-bit access at 28 nm.
    assert pj(512, node=28) * 2 == pytest.approx(0.58, abs=0.01)
    assert pj(512, node=28) * 2 < 0.96


def test_more_banks_cost_less_where_the_macros_shrink() -> None:
    assert pj(2**20, banks=4) < pj(2**20, banks=1)


@given(CAPACITY, PORT, NODE, NODE, SETS)
def test_energy_and_area_grow_with_the_node(capacity: int, port: int, a: float, b: float, name: str) -> None:
    fine, coarse = min(a, b), max(a, b)
    assert pj(capacity, port, node=fine, name=name) <= pj(capacity, port, node=coarse, name=name) * (1 + 1e-12)
    assert mm2(capacity, fine) <= mm2(capacity, coarse) * (1 + 1e-12)


def test_area_is_cells_over_block_efficiency() -> None:
    assert mm2(2**20, 45) == pytest.approx(2**23 * 0.346e-6 / 0.34)
    assert mm2(2**20, 7) == pytest.approx(2**23 * 0.027e-6 / 0.34)
