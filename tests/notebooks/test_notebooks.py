"""The stored notebooks as files, and the first study run in a fresh kernel; pictures are not compared."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from rtl.tools import find_iverilog

from .running import BUILDER, NOTEBOOKS, ROOT, flat, run_notebook, stored_results

SOURCES = sorted(NOTEBOOKS.glob("*.py"))
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of the first study, run now."""
    return run_notebook("01_first_study", tmp_path_factory.mktemp("notebooks"))


# The files


def test_every_notebook_has_its_source() -> None:
    assert SOURCES
    assert [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))] == [path.stem for path in SOURCES]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_stored_cells_are_those_of_the_source(source: Path) -> None:
    assert BUILDER["same_cells"](source.with_suffix(".ipynb"), source), "run scripts/build_notebooks"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_stored_outputs_are_complete_small_and_free_of_paths(source: Path) -> None:
    text = source.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert BUILDER["faults"](text) == []
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell["outputs"] if out["output_type"] == "error"]


def test_faults_are_found() -> None:
    faults = BUILDER["faults"]
    assert f"holds the path {ROOT}" in faults(f"see {ROOT}/x")
    assert faults("x" * 1_000_001) == ["has 1000001 bytes, at most 1000000 are allowed"]


def test_cells_are_read_from_the_percent_format() -> None:
    text = "# ruff\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nx = 1\n\n\ny = 2\n"
    assert BUILDER["cells_of"](text) == [("markdown", "# Title\n\ntext"), ("code", "x = 1\n\n\ny = 2")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_code_cell_parses_on_its_own(source: Path) -> None:
    for kind, cell in BUILDER["cells_of"](source.read_text(encoding="utf-8")):
        assert kind == "markdown" or ast.parse(cell).body


# The first study


def test_the_stored_results_are_those_of_this_version(first: dict[str, Any]) -> None:
    stored = stored_results("01_first_study")
    if find_iverilog() is None:
        stored["rtl"], first = {}, {**first, "rtl": {}}
    assert flat(first) == pytest.approx(flat(stored), rel=1e-6), "the numbers changed: run scripts/build_notebooks"


def test_the_workload_is_that_of_the_log(first: dict[str, Any]) -> None:
    assert (first["requests"], first["input_p50"], first["output_p50"], first["batch"]) == (256, 1020, 129, 8)
    # 2 bytes a parameter and 2 x 32 x 4096 x 2 bytes of cache a token cannot be less than the weights alone
    assert first["decode_resident_gib"] > 6_738_415_616 * 2 / 2**30


@pytest.mark.parametrize("chip", ["tpu_v4", "neupims_npu"])
def test_servers_are_compute_bound_in_prefill_and_memory_bound_in_decode(first: dict[str, Any], chip: str) -> None:
    prefill, decode = (first["presets"][f"{chip} {phase}"] for phase in ("prefill", "decode"))
    assert prefill["bound_by"] == "npu"
    assert prefill["utilisation"] > 0.8
    assert decode["bound_by"] == "memory:dram"
    assert decode["bound_share"] > 0.99
    assert decode["utilisation"] < 0.03


def test_the_edge_chip_cannot_swallow_its_weights(first: dict[str, Any]) -> None:
    assert first["presets"]["edge_32x32 decode"]["bound_by"] == "npu"
    assert first["dataflow"]["edge_array_over_memory"] == pytest.approx(32 / (25.6 * 0.953 * 2), abs=1e-4)


def test_rows_hurt_decode_and_not_prefill(first: dict[str, Any]) -> None:
    shape = first["shape"]
    assert 1.0 <= shape["prefill_spread"] < 1.1
    assert shape["decode_512x128_ms"] > 2 * shape["decode_128x128_ms"]
    assert shape["decode_128x512_ms"] < 1.15 * shape["decode_128x128_ms"]


def test_small_cores_pay_for_their_edges(first: dict[str, Any]) -> None:
    shape = first["shape"]
    assert shape["prefill_16x16_area_ms"] > 2 * shape["prefill_128x128_area_ms"]
    assert shape["prefill_reads_16x16_over_512x512"] > 2


def test_the_law_of_weights_holds(first: dict[str, Any]) -> None:
    flow = first["dataflow"]
    assert flow["law_rows"] == pytest.approx(2**17 * 2 * 1e9 / (1.024e12 * 0.91), abs=0.01)
    assert abs(flow["law_error_at_512_pct"]) < 5
    streams_lose_pct = (1 / 0.91 - 1) * 100  # the bound takes the peak
    assert streams_lose_pct < flow["gap_at_128_pct"] < streams_lose_pct + 3
    assert flow["gap_at_512_pct"] > 100


def test_dataflows_for_one_row(first: dict[str, Any]) -> None:
    flow = first["dataflow"]
    assert flow["os_over_serial_ws_m1_128"] < 0.9
    assert flow["ws_over_os_m1_128"] == pytest.approx(1.0, abs=0.02)
    assert flow["attention_ws_over_os_512"] > 1.5


def test_nothing_beats_its_bound(first: dict[str, Any]) -> None:
    assert first["dataflow"]["largest_bound_over_tile"] <= 1.0


def test_the_front_is_what_the_simulator_says(first: dict[str, Any]) -> None:
    search = first["search"]
    assert search["front_difference"] == 0.0
    assert search["front_resimulated"] == search["front"] > 50
    assert search["designs"] == 3000 > search["feasible"] > 1000


def test_the_chosen_design_keeps_the_rule(first: dict[str, Any]) -> None:
    chosen = first["chosen"]
    assert chosen["tpot_ms"] <= 50
    assert chosen["ttft_ms"] <= 250
    assert chosen["area_mm2"] <= 400
    assert chosen["power_w"] <= 300
    assert (chosen["prefill_bound_by"], chosen["decode_bound_by"]) == ("npu", "memory:dram")
    assert chosen["decode_dram_energy_share"] > 0.5


def test_the_whole_generation_is_near_its_representative_step(first: dict[str, Any]) -> None:
    generation = first["generation"]
    assert generation["tpot_ms"] == pytest.approx(first["chosen"]["tpot_ms"], rel=0.25)
    assert generation["ttft_ms"] > first["chosen"]["ttft_ms"]
    assert generation["evaluated"] < generation["steps"] / 10


def test_the_chosen_array_becomes_verilog(first: dict[str, Any]) -> None:
    rtl, chosen = first["rtl"], first["chosen"]
    assert rtl["processing_elements"] == chosen["rows"] * chosen["cols"]
    assert rtl["findings"] == 0
    if find_iverilog() is None:
        assert rtl["verified"] is None
    else:
        assert rtl["verified"] is True
        assert rtl["measured_cycles"] == rtl["model_cycles"] > 0


def test_validation_numbers(first: dict[str, Any]) -> None:
    found = first["validation"]
    assert found["ONNXim cycles"]["n"] == 76
    assert found["ONNXim cycles"]["mape_pct"] < 5
    assert found["SCALE-Sim compute_cycles"] == {"n": 216, "mape_pct": 0.0, "max_pct": 0.0}
