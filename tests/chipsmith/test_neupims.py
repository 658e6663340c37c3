"""The adapter of NeuPIMs' simulator: machine, requests, stages, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from chipsmith.adapters.base import Fields, NotModelledError, find_adapter, predict
from chipsmith.adapters.neupims_system import MODES, chip_of, stage_seconds, trace_of
from chipsmith.validate import compare
from models.chip import load_chip
from sim.simulate import simulate
from workloads.errors import ChipsmithError

REQUESTS = [[100 + 37 * i, i % 4] for i in range(10)]
NPU = {
    "cores": 1, "freq_mhz": 1000, "systolic_arrays": 8, "array_rows": 128, "array_cols": 128, "vector_units": 8,
    "vector_lanes": 128,
}  # fmt: skip
MEMORY = {"tCK_ns": 1.0, "channels": 32, "capacity_gb": 32, "peak_gbps": 1024}


def record(mode: str = "dual_row_buffer", **workload: Any) -> dict[str, Any]:
    layers = 2 if mode == MODES[3] else 1
    buffers = 1 if mode == MODES[1] else 2
    pim = {"row_buffers_per_bank": buffers, "composite_commands": buffers == 2}
    work = {
        "mode": mode, "model": "GPT3-7B", "layers_simulated": layers, "heads": 32, "d_model": 4096,
        "tensor_parallel": 4, "requests": REQUESTS, **workload,
    }  # fmt: skip
    return {
        "id": f"mine/{mode}", "family": "pim-system",
        "source": {"name": "NeuPIMs (casys-kaist/NeuPIMs)", "kind": "simulated"},
        "hardware": {"npu": NPU, "memory": MEMORY, "pim": pim}, "workload": work,
        "expect": {"cycles_per_layer": 1e5, "stage_cycles": {"A": 3e4, "B": 3e4, "E": 9e4}, "layers_covered": layers},
    }  # fmt: skip


def metrics(data: dict[str, Any], where: str = "f.jsonl:1") -> dict[str, float]:
    found = predict(find_adapter("pim-system", "NeuPIMs (casys-kaist/NeuPIMs)"), data, where).metrics
    return {name: float(value) for name, value in found.items()}  # type: ignore[arg-type]  # no lists here


def test_a_record_is_the_artifact_with_its_requests_on_their_channels() -> None:
    found = metrics(record())
    data = record()
    hardware, workload = (Fields.of(data[key], "f.jsonl:1") for key in ("hardware", "workload"))
    result = simulate(trace_of(workload, 32), chip_of("neupims_artifact", hardware, "dual_row_buffer"))
    assert found["cycles_per_layer"] == found["cycles_total"] == approx(1e9 * result.latency_s)
    stages = stage_seconds(result)
    assert list(stages) == ["A", "B", "E"]
    assert sum(stages.values()) == approx(result.latency_s)
    assert found["stage_cycles.B"] == approx(1e9 * stages["B"])
    assert found["preloads"] == 32 + 8 + 32 + 32  # one block of tokens by the blocks of each inner dimension


def test_interleaving_runs_six_stages_in_two_layers() -> None:
    found = metrics(record("dual_row_buffer_interleaved"))
    stages = [found[f"stage_cycles.{name}"] for name in "ABCDEF"]
    assert sum(stages) == approx(found["cycles_total"]) == approx(2 * found["cycles_per_layer"])
    assert min(stages) > 0


def test_one_queue_slows_a_single_row_buffer_and_no_pim_is_slowest() -> None:
    single, dual, none = (metrics(record(mode))["cycles_per_layer"] for mode in (MODES[1], MODES[2], MODES[0]))
    assert dual < single < none


def test_the_lists_stand_beside_the_records(tmp_path: Path) -> None:
    data = record(requests=None, requests_ref="lists.json#ten")
    (tmp_path / "lists.json").write_text(json.dumps({"ten": {"requests": REQUESTS}}))
    assert metrics(data, f"{tmp_path}/f.jsonl:1") == metrics(record())
    for reference, reason in (("lists.json#two", "lists.json holds no list 'two'"), ("no.json#ten", "no list of")):
        missing = record(requests=None, requests_ref=reference)
        with pytest.raises(NotModelledError, match=reason):
            metrics(missing, f"{tmp_path}/f.jsonl:1")


def test_a_channel_that_does_not_exist_is_named() -> None:
    with pytest.raises(ChipsmithError) as caught:
        metrics(record(requests=[[100, 32]]))
    where = "f.jsonl:1.workload.requests: channel of a request of 100 tokens"
    assert str(caught.value) == f"{where}: got 32; legal: 0 to 31, the channels of the memory"


def test_entries_of_a_table_are_metrics_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(record()) + "\n")
    rows = {row.metric: row for row in compare([path]).rows}
    assert {"stage_cycles.A", "stage_cycles.B", "stage_cycles.E", "cycles_per_layer"} <= rows.keys()
    assert rows["layers_covered"].skip_reasons == {"it is given, not measured": 1}
    (own,) = [row for row in rows.values() if row.kind == "own"]
    assert own.ratio is not None and own.ratio.largest < 1.1


@pytest.mark.parametrize("name", ["neupims", "neupims_artifact", "neupims_single_buffer", "npu_only"])
def test_presets_run_a_step(name: str) -> None:
    workload = Fields.of(record()["workload"], "f.jsonl:1")
    result = simulate(trace_of(workload, 32), name)
    attention = [op.engine for op in result.ops if op.kind == "attention"]
    assert set(attention) == {"npu" if name == "npu_only" else "pim"}
    assert set(load_chip(name).notes)
