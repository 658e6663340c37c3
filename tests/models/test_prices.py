"""Prices: golden numbers, one row and many rows alike bit for bit, sums, monotone in what costs."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.chip import ChipTable, list_chips, load_chip
from models.constants import list_constant_sets
from models.costs import EnginePrices
from models.describe import describe_chip
from models.engines.base import EngineSpec
from models.prices import MemoryPrices, Prices, price
from workloads.errors import ChipsmithError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "prices.json").read_text(encoding="utf-8"))
TPU = load_chip("tpu_v4")
COLUMNS: dict[str, list[Any]] = {
    "engines.npu.rows": [1, 7, 16, 128, 300],
    "engines.npu.act_dtype": ["int8", "fp16", "bf16", "int4", "fp8"],
    "engines.npu.weight_dtype": ["int8", "fp16", "ternary", "int1", "fp8"],
    "engines.npu.spad_bytes": [1, 999, 65536, 33554432, 2**31],
    "engines.npu.spad_port_bytes": [0, 1, 64, 256, 4096],
    "engines.npu.accum_bytes": [0, 1024, 4096, 65536, 4194304],
    "engines.npu.preload": ["serial", "overlapped", "serial", "overlapped", "serial"],
    "engines.vector.dtype": ["fp32", "fp16", "bf16", "int8", "fp32"],
    "technology.node_nm": [7.0, 11.3, 28.0, 45.0, 130.0],
    "technology.vdd_v": [0.0, 0.7, 0.0, 1.1, 1.2],
    "memories.dram.standard": ["HBM2", "DDR4", "LPDDR5", "GDDR6", "HBM3"],
    "noc.hops": [0.0, 1.0, 2.5, 3.0, 9.0],
}


def arrays(prices: Prices) -> dict[str, np.ndarray]:
    """Every array of prices under one flat name."""
    found = dict(prices.blocks())
    parts: dict[str, EnginePrices | MemoryPrices] = {**prices.engines, **prices.memories}
    for name, part in parts.items():
        plain = [f.name for f in fields(part) if f.name not in ("area_mm2", "charges")]
        found |= {f"{name}.{field}": getattr(part, field) for field in plain}
        for events in getattr(part, "charges", {}).values():
            found |= {f"{name}.{event}": pj for event, pj in events}
    found |= {f"link.{name}": value for name, value in prices.links_pj_per_byte.items()}
    found |= {name: getattr(prices, name) for name in ("area_mm2", "noc_mm2", "uncore_leakage_w", "uncore_clock_w")}
    return found


@pytest.mark.parametrize("name", [f"{chip}/{constants}" for chip in list_chips() for constants in list_constant_sets()])
def test_prices_of_presets_are_the_stored_ones(name: str) -> None:
    chip, constants = name.split("/")
    data, _ = describe_chip(load_chip(chip).with_fields({"technology.constants": constants}))
    stored = GOLDEN[name]
    assert data["area_mm2"] == pytest.approx(stored["area_mm2"], rel=1e-12)
    for engine, expected in stored["engines"].items():
        assert data["engines"][engine]["area_mm2"] == pytest.approx(expected["area_mm2"], rel=1e-12)
        assert data["engines"][engine]["prices"] == pytest.approx(expected["prices"], rel=1e-12)
    for kind in ("memories", "links"):
        for part, expected in stored[kind].items():
            assert data[kind][part]["prices"] == pytest.approx(expected, rel=1e-12)


def test_a_table_of_n_is_n_tables_of_one_bit_for_bit() -> None:
    table = ChipTable(TPU, COLUMNS)
    many = arrays(price(table))
    assert len(many) > 30
    for row in range(table.n):
        one = arrays(price(ChipTable(table.chip(row))))
        assert {name: value[row].hex() for name, value in many.items()} == {
            name: value[0].hex() for name, value in one.items()
        }


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_row_order_and_number_change_no_bit(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    pick = {path: np.array(values)[generator.integers(0, len(values), n)] for path, values in COLUMNS.items()}
    forward = arrays(price(ChipTable(TPU, pick)))
    backward = arrays(price(ChipTable(TPU, {path: values[::-1] for path, values in pick.items()})))
    for name, values in forward.items():
        assert np.array_equal(values, backward[name][::-1]), name


@pytest.mark.parametrize("name", list_chips())
def test_blocks_sum_to_the_total(name: str) -> None:
    prices = price(ChipTable(load_chip(name)))
    assert sum(float(area[0]) for area in prices.blocks().values()) == pytest.approx(float(prices.area_mm2[0]))
    assert all(float(area[0]) >= 0 for area in prices.blocks().values())
    assert {block.split(".")[0] for block in prices.blocks()} == {*prices.engines, *prices.memories, "noc"}


def varied(path: str, values: list[Any]) -> Prices:
    return price(ChipTable(TPU, {path: values}))


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_area_grows_with_the_array(a: int, b: int) -> None:
    area = varied("engines.npu.rows", [min(a, b), max(a, b)]).area_mm2
    assert area[0] <= area[1]


@given(st.integers(1, 2**30), st.integers(1, 2**30))
def test_storage_grows_in_area_leakage_and_access_energy(a: int, b: int) -> None:
    npu = varied("engines.npu.spad_bytes", [min(a, b), max(a, b)]).engines["npu"]
    for values in (npu.total_mm2, npu.leakage_w, npu.clock_w, npu.sram_read_pj_per_byte * (1 + 1e-12)):
        assert values[0] <= values[1] * (1 + 1e-12)


@given(st.floats(7, 180), st.floats(7, 180))
def test_finer_nodes_are_smaller_and_take_less_energy(a: float, b: float) -> None:
    prices = varied("technology.node_nm", [min(a, b), max(a, b)])
    npu, vector = prices.engines["npu"], prices.engines["vector"]
    for values in (prices.area_mm2, npu.mac_pj, vector.vector_op_pj, npu.sram_read_pj_per_byte, npu.noc_pj_per_byte):
        assert values[0] <= values[1] * (1 + 1e-12)


@given(st.floats(0.5, 1.5), st.floats(0.5, 1.5))
def test_supply_raises_energy_by_its_square_and_leaves_area(a: float, b: float) -> None:
    prices = varied("technology.vdd_v", [a, b])
    for values in (prices.engines["npu"].mac_pj, prices.engines["npu"].clock_w):
        assert values[1] / values[0] == pytest.approx((b / a) ** 2)
    assert prices.area_mm2[0] == prices.area_mm2[1]


def test_narrower_weights_cost_less() -> None:
    chip = load_chip("tpu_v1")
    names = ["int1", "int2", "int4", "int8"]
    npu = price(ChipTable(chip, {"engines.npu.weight_dtype": names})).engines["npu"]
    assert npu.mac_pj.tolist() == sorted(npu.mac_pj.tolist())
    assert npu.area_mm2["mac_array"].tolist() == sorted(npu.area_mm2["mac_array"].tolist())


def test_mac_is_multiplier_plus_accumulating_adder() -> None:
    assert price(ChipTable(TPU)).engines["npu"].mac_pj[0] == pytest.approx(0.34 + 0.38)
    tpu_v1 = load_chip("tpu_v1").with_fields({"technology.node_nm": 45})
    assert price(ChipTable(tpu_v1)).engines["npu"].mac_pj[0] == pytest.approx(0.2 + 0.1)


def test_dram_prices_are_the_sourced_ones() -> None:
    memory = price(ChipTable(TPU)).memories["dram"]
    assert memory.core_pj_per_byte[0] + memory.io_pj_per_byte[0] == pytest.approx(8 * 3.59)
    assert memory.interface_mm2[0] == pytest.approx(614.4 * 0.0296)
    assert memory.background_w[0] == pytest.approx(34.359738368 * 0.13)


def test_link_energy_is_the_chips_own_where_it_states_one() -> None:
    assert price(ChipTable(TPU)).links_pj_per_byte["ici"][0] == 80.0
    assert varied("links.ici.energy_pj_per_bit", [1.5]).links_pj_per_byte["ici"][0] == 12.0


def test_hash_names_the_data_files_and_the_set() -> None:
    one, other = price(ChipTable(TPU)), price(ChipTable(TPU.with_fields({"technology.constants": "horowitz_2014"})))
    assert one.calibration_hash == price(ChipTable(load_chip("tpu_v1"))).calibration_hash
    assert one.calibration_hash != other.calibration_hash
    assert (one.constants, other.constants, len(one.calibration_hash)) == ("default", "horowitz_2014", 16)


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"memories.dram.standard": ["HBM2", "HBM9"]},
         "chip.memories.dram.standard: got 'HBM9'; did you mean 'HBM3'? "
         "known: DDR3, DDR4, DDR5, GDDR6, HBM2, HBM2E, HBM3, LPDDR4, LPDDR5"),
        ({"technology.constants": ["default", "horowitz_2014"]},
         "chip.technology.constants: got ['default', 'horowitz_2014']; one table is priced with one set"),
        ({"engines.npu.rows": []}, "chip table: got 0; prices need at least one row"),
        ({"engines.npu.act_dtype": ["fp16", "fp99"]},
         "chip.engines.npu.act_dtype: got 'fp99'; did you mean 'fp8'? known: bf16, fp16, fp32, fp8, int1, int16, int2, "
         "int3, int32, int4, int5, int6, int7, int8, mxfp4, mxfp6, mxfp8, mxint8, nvfp4, ternary, ternary5"),
    ],
)  # fmt: skip
def test_what_has_no_price_is_refused(columns: dict[str, Any], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        price(ChipTable(TPU, columns))
    assert str(caught.value) == text


class FreeSpec(EngineSpec):
    """An engine of another package, without prices."""


class FreeEngine:
    """What its entry point loads."""

    spec = FreeSpec


class FreePoint:
    """Its entry point."""

    def load(self) -> type[FreeEngine]:
        return FreeEngine


def test_engine_without_prices_counts_as_free_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("models.registry", "models.prices"):
        monkeypatch.setattr(f"{module}.plugin_points", lambda: {"free_engine": FreePoint()})
    data = TPU.model_dump()
    data["engines"]["extra"] = {"type": "free_engine", "clock_hz": 1e9}
    chip = type(TPU).model_validate(data)
    with pytest.warns(UserWarning, match="engine type 'free_engine' has no prices: its energy and area count as 0"):
        prices = price(ChipTable(chip, n=2))
    assert prices.engines["extra"].mac_pj.tolist() == [0.0, 0.0]
    assert prices.blocks()["extra.unpriced"].tolist() == [0.0, 0.0]
    price(ChipTable(chip))  # said once: a second warning would fail here


def test_engine_of_another_package_prices_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.engines.vector import price as price_vector
    from models.prices import _pricer

    class Priced:
        price = staticmethod(price_vector)

    class Point:
        def load(self) -> type[Priced]:
            return Priced

    monkeypatch.setattr("models.prices.plugin_points", lambda: {"priced_engine": Point()})
    assert _pricer("priced_engine") is price_vector
