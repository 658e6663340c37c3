"""Systems with processing in memory: AttAcc's end-to-end records and Duplex's published figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pytest import approx

from chipsmith.adapters import duplex
from chipsmith.adapters.attacc_system import Model, step_trace
from chipsmith.adapters.base import Fields, find_adapter, predict
from chipsmith.validate import compare
from models.chip import ChipTable, load_chip
from models.prices import price
from sim.simulate import simulate

GPUS: dict[str, Any] = {
    "gpus": 8, "gpu_tflops_fp16": 312, "gpu_memory_gbps": 3352, "gpu_memory_gb": 80, "gpu_sms": 108, "link_gbps": 600,
    "compute_efficiency": 0.8, "memory_efficiency": 0.85,
}  # fmt: skip
OPT: dict[str, Any] = {
    "model": "OPT-66B", "layers": 64, "d_model": 9216, "heads": 72, "head_dim": 128, "ffn_multiplier": 4,
    "dtype_bytes": 2, "prompt_tokens": 2048, "output_tokens": 128, "batch": 72, "tensor_parallel": 8,
    "ffn_coprocessing": False, "head_level_pipelining": False,
}  # fmt: skip
BANK = {"stacks_per_device": 5, "placement": "bank", "power_capped": True}
OPTIONS = {"ffn_coprocessing": True, "head_level_pipelining": True}
#: Milliseconds a token of attacc_simulator c600051.
TIMES: list[tuple[dict[str, Any], dict[str, Any], float]] = [
    ({}, {"batch": 1}, 15.5681826),
    ({}, {"batch": 16}, 18.8558938),
    ({}, {}, 30.7616888),
    ({"pim": BANK}, OPTIONS, 14.4700649),
    ({"pim": {**BANK, "placement": "bank_group"}}, OPTIONS, 19.0957063),
]


def attacc(hardware: Mapping[str, Any], workload: Mapping[str, Any]) -> Mapping[str, Any]:
    record = {"hardware": {**GPUS, **hardware}, "workload": {**OPT, **workload}}
    return predict(find_adapter("pim-system", "AttAcc simulator (x)"), record, "here").metrics


@pytest.mark.parametrize(("hardware", "workload", "milliseconds"), TIMES)
def test_attacc_is_met_within_three_percent(
    hardware: dict[str, Any], workload: dict[str, Any], milliseconds: float
) -> None:
    assert attacc(hardware, workload)["time_per_token_ms"] == approx(milliseconds, rel=0.03)


def test_gpu_matrices_and_collectives_are_met_exactly() -> None:
    found = attacc({}, {})
    assert found["fc_ms"] == approx(6.1953567, rel=1e-6)
    assert found["communication_ms"] == approx(6.76748083, rel=1e-6)
    assert found["energy_per_token_j"] == approx(20.8940029, rel=0.05)


def test_the_options_help_and_the_power_cap_costs() -> None:
    plain, shared = attacc({"pim": BANK}, {}), attacc({"pim": BANK}, OPTIONS)
    free = attacc({"pim": {**BANK, "power_capped": False}}, {})
    assert shared["time_per_token_ms"] < plain["time_per_token_ms"]
    assert shared["ffn_ms"] < plain["ffn_ms"]
    assert free["attention_ms"] < plain["attention_ms"]


def test_constants_of_attacc() -> None:
    found = attacc({}, {"scope": "constant"})
    parts = ("activate", "cell", "column_to_bank_group_mux", "interposer")
    assert [found[f"dram_energy_components.{part}"] for part in parts] == approx([0.11, 0.44, 1.01, 0.3])
    places = ("bank", "bank_group", "buffer_die", "off_chip")
    assert [found[f"energy_to_read_one_bit.{place}"] for place in places] == approx([0.55, 1.56, 3.29, 3.59])
    assert found["internal_bandwidth_over_external.uncapped.bank"] == 16
    assert (found["mac_energy"], found["gpu_energy.link"]) == (0.32, approx(10.4))


def test_the_layer_holds_what_the_model_holds() -> None:
    model = Model("OPT-66B", 64, 9216, 72, 128, 4 * 9216, "fp16", 8)
    trace = step_trace(model, 16, 1, 2048)
    assert trace.weight_bytes == model.weight_bytes == 2 * 64 * 12 * 9216**2 // 8
    assert trace.kv_read_bytes == 16 * 2048 * model.cache_bytes
    assert [op.name for op in trace.ops][:3] == ["layer.qkv_proj", "layer.attention", "layer.o_proj"]


def test_what_is_skipped_says_why(tmp_path: Path) -> None:
    record = {
        "id": "x", "family": "pim-system", "source": {"name": "AttAcc simulator"}, "hardware": GPUS,
        "workload": {**OPT, "heads": 70}, "expect": {"time_per_token_ms": 1.0},
    }  # fmt: skip
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(record))
    (comparison,) = compare([file]).comparisons
    assert comparison.skip_reason == "70 heads on 8 ranks"


@pytest.mark.parametrize(("placement", "milliseconds"), [("bank", 3.47279604), ("buffer_die", 18.9662598)])
def test_attention_over_8_bit_caches_is_met_within_one_percent(placement: str, milliseconds: float) -> None:
    """MT-530B of attacc_simulator c600051."""
    shape = {"model": "MT-530B", "layers": 105, "d_model": 20480, "heads": 128, "head_dim": 160, "batch": 49}
    found = attacc({"pim": {**BANK, "placement": placement}}, {**OPTIONS, **shape, "dtype_bytes": 1})
    assert found["attention_ms"] == approx(milliseconds, rel=0.01)


def test_8_bit_caches_run_on_8_bit_units() -> None:
    wide, narrow = attacc({"pim": BANK}, {}), attacc({"pim": BANK}, {"dtype_bytes": 1})
    assert narrow["attention_ms"] == approx(wide["attention_ms"] / 2, rel=0.05)


def test_a_published_record_is_compared_under_the_name_of_its_metric(tmp_path: Path) -> None:
    record = {
        "id": "x", "family": "pim-system", "source": {"name": "Duplex, MICRO 2024", "kind": "published"},
        "hardware": {}, "workload": {"scope": "constant"},
        "expect": {"metric": "logic_pim_per_stack", "value": {"tflops": 21.3, "buffer_kb": 8}, "unit": "mixed"},
    }  # fmt: skip
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps(record))
    first, second = compare([file]).comparisons
    assert first.metric == "logic_pim_per_stack.tflops"
    assert first.predicted == approx(21.3, rel=1e-3)
    assert second.skip_reason == "the adapter predicts no such metric"


@pytest.fixture
def constants() -> Mapping[str, Any]:
    fields = Fields.of({"scope": "constant"}, "here")
    adapter = find_adapter("pim-system", "Duplex, MICRO 2024")
    assert adapter.predict is not None
    return adapter.predict(Fields.of({}, "here"), fields).metrics


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logic_pim_per_stack.op_per_byte", 8.0),
        ("logic_pim_per_stack.bandwidth_x_hbm3", 4.0),
        ("bank_pim_assumption.bandwidth_x_hbm3", 16.0),
        ("read_energy.hbm_to_gpu", 3.48),
        ("energy_per_32_bytes.logic", 0.464),
        ("mac_energy", 0.23),
        ("nvlink_per_direction.H100", 450.0),
        ("hbm3_5200_timing.tRCD", 19.0),
    ],
)
def test_constants_of_duplex(constants: Mapping[str, Any], name: str, value: float) -> None:
    assert constants[name] == approx(value, rel=2e-3)


@pytest.fixture
def glam() -> tuple[duplex.Served, duplex.Served]:
    return duplex.serve(duplex.GPU, "GLaM", 32, 512, 512), duplex.serve(duplex.DUPLEX, "GLaM", 32, 512, 512)


def test_duplex_is_faster_and_thriftier_on_many_small_experts(glam: tuple[duplex.Served, duplex.Served]) -> None:
    gpu, ours = glam
    assert 2.0 < ours.tokens_per_s / gpu.tokens_per_s < 2.67
    assert ours.token_j < gpu.token_j


def test_a_request_is_its_steps_and_the_prompts_of_the_others() -> None:
    served = duplex.Served(4, 10, duplex.Step(1.0, 2.0), duplex.Step(3.0, 5.0), 2)
    assert served.request_s == 10 * 1.0 + 4 * (3.0 - 1.0)
    assert served.tokens_per_s == 4 * 10 / 18.0
    assert served.token_j == 2 * (10 * 2.0 + 4 * 3.0) / 40


def test_the_logic_die_costs_less_than_bank_groups() -> None:
    shape = (16384, 4096)
    curve = [duplex.edap("duplex", rows, shape) / duplex.edap("duplex_bankgroup_pim", rows, shape) for rows in (1, 8)]
    assert all(0.5 < ratio < 0.7 for ratio in curve)


PRESETS = ("attacc_gpu", "attacc_bank", "attacc_bankgroup", "attacc_buffer", "h100_roofline", "duplex")


@pytest.mark.parametrize("name", [*PRESETS, "duplex_bank_pim", "duplex_bankgroup_pim"])
def test_presets_run_attention_where_they_say(name: str) -> None:
    chip = load_chip(name)
    model = Model("small", 2, 1024, 8, 128, 4096, "fp16", 1)
    result = simulate(step_trace(model, 4, 1, 500), chip)
    near = next(iter(chip.engines))
    engines = {op.kind: op.engine for op in result.ops}
    assert engines["attention"] == near
    assert result.energy_j > 0 and float(price(ChipTable(chip)).area_mm2[0]) > 0
