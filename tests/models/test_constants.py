"""Constant sets: every figure has unit, source and kind; derived formats agree with what is published of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from models import arithmetic
from models.constants import BEYOND, constant_set, list_constant_sets
from models.datafiles import load_data
from workloads.dtypes import DTYPES
from workloads.errors import ChipsmithError

KINDS = {"published", "scaled", "derived", "fitted", "assumption"}
AT_7, AT_45 = np.array([7.0]), np.array([45.0])
DEFAULT = constant_set("default")


@pytest.mark.parametrize("name", list_constant_sets())
def test_every_constant_has_unit_source_and_kind(name: str) -> None:
    constants = constant_set(name).constants
    for constant in constants.values():
        assert constant.kind in KINDS
        assert len(constant.source) > 20
        assert constant.unit
        assert constant.beyond in {*BEYOND, "hold"}
    assert set(constants) == set(DEFAULT.constants)


def figures(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict) and "value" in node:
        yield node
    elif isinstance(node, dict):
        for part in node.values():
            yield from figures(part)


@pytest.mark.parametrize("file", ["memories.yaml", "sram.yaml"])
def test_every_figure_of_a_data_file_has_a_source(file: str) -> None:
    found = list(figures(load_data(file).content))
    assert len(found) > 10
    for figure in found:
        assert figure["source"]
        assert figure.get("kind", "published") in KINDS


def test_published_values_come_back_at_their_node() -> None:
    assert DEFAULT.at("fp16_mult_pj", np.array([45.0, 7.0])) == pytest.approx([1.1, 0.34], rel=1e-12)
    assert DEFAULT.at("int8_add_um2", AT_45)[0] == pytest.approx(36)


def test_between_nodes_values_lie_between() -> None:
    between = DEFAULT.at("fp32_add_pj", np.array([28.0, 16.0]))
    assert 0.38 < between[1] < between[0] < 0.9


def test_held_constants_do_not_scale() -> None:
    assert DEFAULT.at("link_pj_per_bit", np.array([7.0, 28.0, 180.0])).tolist() == [10.0] * 3


def test_unknown_set_is_refused() -> None:
    with pytest.raises(ChipsmithError) as caught:
        constant_set("defualt")
    assert str(caught.value) == (
        "chip.technology.constants: got 'defualt'; did you mean 'default'? known: default, horowitz_2014"
    )


def test_derived_bf16_is_near_its_published_7_nm_figures() -> None:
    multiply = arithmetic.multiply(DEFAULT, "pj", "bf16", "bf16", AT_7)[0]
    add = arithmetic.add(DEFAULT, "pj", "bf16", AT_7)[0]
    assert multiply == pytest.approx(0.210, rel=0.08)
    assert add == pytest.approx(0.110, rel=0.03)
    assert (round(add, 3), round(multiply, 3)) == (0.112, 0.196)


@pytest.mark.parametrize("unit", ["pj", "um2"])
@pytest.mark.parametrize("node", [AT_7, AT_45])
def test_arithmetic_grows_with_width(unit: str, node: np.ndarray) -> None:
    for names in (("int1", "int2", "int3", "int4", "int5", "int6", "int7", "int8", "int16", "int32"),
                  ("fp8", "bf16", "fp16", "fp32")):  # fmt: skip
        products = [arithmetic.multiply(DEFAULT, unit, name, name, node)[0] for name in names]
        sums = [arithmetic.add(DEFAULT, unit, name, node)[0] for name in names]
        assert products == sorted(products)
        assert sums == sorted(sums)


def test_int8_is_cheaper_than_fp16_than_fp32() -> None:
    costs = [arithmetic.multiply(DEFAULT, "pj", name, name, AT_7)[0] for name in ("int8", "fp16", "fp32")]
    assert costs == [pytest.approx(0.07), pytest.approx(0.34), pytest.approx(1.31)]


def test_ternary_weights_cost_one_row_of_a_multiplier() -> None:
    ternary = arithmetic.multiply(DEFAULT, "pj", "int8", "ternary", AT_45)[0]
    assert ternary == arithmetic.multiply(DEFAULT, "pj", "int8", "int1", AT_45)[0]
    assert ternary == pytest.approx(0.2 * (8 / 64) ** (np.log(15.5) / np.log(16)))


def test_every_format_has_a_cost() -> None:
    for name in DTYPES:
        assert arithmetic.multiply(DEFAULT, "um2", name, name, AT_7)[0] > 0
        assert arithmetic.add(DEFAULT, "pj", name, AT_7)[0] > 0


def test_int8_unit_is_near_the_published_density_of_a_28_nm_tensor_core() -> None:
    # LUT Tensor Core (ISCA 2025), Table 1: int8 unit of 17.73 TOPS/mm2 at 1.41 GHz and 28 nm, two operations a MAC.
    published_um2 = 2 * 1.41e9 / 17.73e12 * 1e6
    at_28 = np.array([28.0])
    unit = arithmetic.multiply(DEFAULT, "um2", "int8", "int8", at_28) + arithmetic.add(DEFAULT, "um2", "int32", at_28)
    assert unit[0] == pytest.approx(published_um2, rel=0.05)
