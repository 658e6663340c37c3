"""Units inside a memory that multiply another format than their device's: lanes, times, placement, and refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.chip import ChipTable
from models.engines.pim import PimSpec, built, design_of, peaks
from models.pim import PimDevice
from sim.batch import evaluate
from sim.demand import FIDELITIES
from sim.engines.pim import accepts
from sim.mapping import Mapping
from sim.simulate import simulate
from workloads.errors import ChipsmithError
from workloads.operators import Operator

from .test_pim_engine import cached, chip, gemm, price, trace

CACHES = cached(*[2048] * 64)
KNOWN = "bf16, fp16, fp32, fp8, int1, int16, int2, int3, int32, int4, int5, int6, int7, int8, ternary"


def spec(dtype: str = "", device: str = "attacc_bank") -> PimSpec:
    found = chip(device, dtype=dtype).engines["pim"]
    assert isinstance(found, PimSpec)
    return found


def device_of(dtype: str) -> PimDevice:
    return built(design_of(spec(dtype)))


def in_format(op: Operator, name: str) -> Operator:
    return replace(op, act=name, weight=name, kv=name, out=name)


@pytest.mark.parametrize(
    ("dtype", "lanes", "element_bytes"),
    [("", 16, 2), ("fp16", 16, 2), ("bf16", 16, 2), ("int8", 32, 1), ("fp32", 8, 4)],
)
def test_a_unit_of_another_format_multiplies_a_column_of_the_same_bytes(
    dtype: str, lanes: int, element_bytes: int
) -> None:
    device = device_of(dtype)
    assert device.unit.dtypes == (dtype or "fp16",)
    assert (device.unit.lanes, device.check_format(dtype or "fp16")) == (lanes, element_bytes)
    assert lanes * element_bytes == device.organisation.burst_bytes


def test_the_devices_own_format_changes_nothing() -> None:
    assert device_of("fp16") == device_of("")


def test_int8_doubles_the_peak_of_the_multipliers_and_leaves_that_of_the_banks() -> None:
    wide, narrow = peaks(spec()), peaks(spec("int8"))
    assert narrow["MAC/s int8 x int8"] == 2 * wide["MAC/s fp16 x fp16"]
    assert narrow["B/s inside"] == wide["B/s inside"]


def test_lanes_asked_for_are_cut_to_the_elements_of_a_column() -> None:
    """64 lanes of int8 find 32 elements in a column of 32 bytes."""
    cut = chip("attacc_bank", dtype="int8", lanes=64).engines["pim"]
    assert isinstance(cut, PimSpec)
    assert built(design_of(cut)).unit.lanes == 32


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("op", [CACHES, gemm(1, 4096, 4096)], ids=["attention", "product"])
def test_int8_takes_half_the_time_of_fp16(op: Operator, fidelity: str) -> None:
    """The same products of half the bytes; what is left over is commands at the ends of rows, and refresh."""
    wide = price(chip("attacc_bank"), op, fidelity)
    narrow = price(chip("attacc_bank", dtype="int8"), in_format(op, "int8"), fidelity)
    assert narrow["busy"] / wide["busy"] == pytest.approx(0.5, rel=0.02)
    assert narrow["pim_array_bytes"] == wide["pim_array_bytes"] / 2
    assert narrow["pim_macs"] == wide["pim_macs"] and narrow["macs"] == wide["macs"] == op.macs


def test_tile_is_near_command_in_int8() -> None:
    design = chip("attacc_bank", dtype="int8")
    tile, command = (price(design, in_format(CACHES, "int8"), level) for level in ("tile", "command"))
    assert tile["busy"] == pytest.approx(command["busy"], rel=0.005)


# ---------------------------------------------------------------- who takes what


@pytest.mark.parametrize(
    ("dtype", "op", "taken"),
    [
        ("", CACHES, True),
        ("int8", CACHES, False),
        ("", in_format(CACHES, "int8"), False),
        ("int8", in_format(CACHES, "int8"), True),
        ("int8", replace(CACHES, kv="int8"), False),
        ("int8", replace(in_format(CACHES, "int8"), kv="fp16"), False),
        ("int8", gemm(1, 256, 256), False),
        ("int8", gemm(1, 256, 256, act="int8"), True),
    ],
)
def test_units_take_their_own_format_alone(dtype: str, op: Operator, taken: bool) -> None:
    assert accepts(spec(dtype), op) == taken


def test_what_units_do_not_multiply_goes_to_the_next_engine() -> None:
    for dtype, engine in (("", "pim"), ("int8", "npu")):
        assert simulate(trace(CACHES), chip("attacc_bank", npu=True, dtype=dtype)).ops[0].engine == engine


@pytest.mark.parametrize(
    ("dtype", "form", "text"),
    [
        ("int8", "fp16", "mapping.engines.attention: got 'fp16'; attacc_bank multiplies int8"),
        ("", "int8", "mapping.engines.attention: got 'int8'; attacc_bank multiplies fp16"),
    ],
)
def test_a_mapping_cannot_force_another_format(dtype: str, form: str, text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        simulate(
            trace(in_format(CACHES, form)), chip("attacc_bank", dtype=dtype), Mapping("given", {"attention": "pim"})
        )
    assert str(error.value) == text


def test_a_table_places_and_prices_each_format_as_alone() -> None:
    """The units of a row with another format leave the operator to the NPU, others of the same table don't."""
    table = ChipTable(chip("attacc_bank", npu=True), {"engines.pim.dtype": ["", "int8", "fp16"]})
    found, alone = evaluate(table, trace(CACHES)), [simulate(trace(CACHES), table.chip(i)) for i in range(table.n)]
    assert [result.ops[0].engine for result in alone] == ["pim", "npu", "pim"]
    assert found.latency_s.tolist() == [result.latency_s for result in alone]
    assert found.energy_j.tolist() == [result.energy_j for result in alone]
    assert found.area_mm2.tolist() == [result.area_mm2 for result in alone]
    assert np.isfinite(found.latency_s).all()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("dtype", "text"),
    [
        ("int4", "got 'int4'; int4 has 4 bits; units multiply operands of whole bytes"),
        ("ternary", "got 'ternary'; ternary has 2 bits; units multiply operands of whole bytes"),
        ("int9", f"got 'int9'; did you mean 'int8'? known: {KNOWN}"),
        ("mxfp8", f"got 'mxfp8'; did you mean 'fp8'? known: {KNOWN}"),
    ],
)
def test_a_format_that_units_cannot_have(dtype: str, text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        spec(dtype)
    assert str(error.value) == f"chip.engines.pim.dtype: {text}"
