"""Rows divided between two engines, attention in groups of heads: work is conserved, and the parts end together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chip import Chip, parse_chip
from sim.policy import arranged
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.routing import Routing
from workloads.trace import Trace
from workloads.transforms.head_groups import base_name, group_heads

from .test_xpu import MEMORY, XPU


def two(slow: float = 1.0, **policy: Any) -> Chip:
    """Two xPUs with a memory each; the second has ``slow`` times the bandwidth of the first."""
    other = {**MEMORY, "bandwidth_bytes_per_s": slow * MEMORY["bandwidth_bytes_per_s"]}
    engines = {"gpu": {**XPU, "launch_s": 0.0}, "near": {**XPU, "launch_s": 0.0, "memory": "near"}}
    memories = {"dram": MEMORY, "near": other}
    links = {"l": {"bandwidth_bytes_per_s": 1e11}}
    return parse_chip(
        {"name": "two", "technology": {"node_nm": 7}, "engines": engines, "memories": memories, "links": links,
         "policy": policy}
    )  # fmt: skip


def opt(batch: int = 8) -> Trace:
    return build_trace("opt-6.7b", Batch.decode(batch, 500), merge_qkv=True)


def mixtral(tokens: int = 16) -> Trace:
    routing = Routing.recorded([9, 7, 5, 5, 3, 2, 1, 0])
    return build_trace("mixtral-8x7b", Batch.decode(tokens, 500), moe=routing)


def by_base(trace: Trace, attribute: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for op in trace.ops:
        found[base_name(op.name)] = found.get(base_name(op.name), 0) + getattr(op, attribute)
    return found


def test_without_a_policy_the_trace_is_the_same_object() -> None:
    trace = opt()
    assert arranged(trace, two()) is trace


@pytest.mark.parametrize("trace", [opt(), mixtral()], ids=["opt", "mixtral"])
def test_parts_do_the_work_of_the_whole(trace: Trace) -> None:
    chip = two(co_process="near", co_process_parts=("ffn", "experts", "attention"))
    parts = arranged(trace, chip).check()
    assert len(parts.ops) > len(trace.ops)
    for attribute in ("macs", "weight_bytes", "kv_read_bytes"):
        assert by_base(parts, attribute) == by_base(trace, attribute)


def test_equal_engines_share_dense_rows_evenly_and_end_together() -> None:
    result = simulate(opt(), two(co_process="near"))
    ops = {op.name: op for op in result.ops}
    assert ops["layer.up_proj"].engine == "gpu" and ops["layer.up_proj~near"].engine == "near"
    assert ops["layer.up_proj"].duration_s == pytest.approx(ops["layer.up_proj~near"].duration_s, rel=0.02)
    assert ops["layer.up_proj"].start_s == ops["layer.up_proj~near"].start_s
    assert not any("qkv" in name and "~" in name for name in ops)


def test_a_faster_second_engine_takes_more() -> None:
    even, more = (arranged(opt(), two(slow, co_process="near")).op("layer.up_proj~near").n for slow in (1.0, 9.0))
    assert (even, more) == (16384 // 2, 16384 * 57 // 64)  # 57.6 of 64 parts would be even


def test_experts_with_the_fewest_tokens_go_to_the_second_engine() -> None:
    parts = arranged(mixtral(), two(0.5, co_process="near", co_process_parts=("experts",)))
    many, few = parts.op("layer.experts_up_proj"), parts.op("layer.experts_up_proj~near")
    assert max(s.new_tokens for s in few.segments) <= min(s.new_tokens for s in many.segments)
    assert few.device_group == "near"
    assert parts.op("layer.router") == mixtral().op("layer.router")


def test_a_mixed_step_attends_for_prompts_and_for_the_rest_at_once() -> None:
    trace = build_trace("opt-6.7b", Batch.from_pairs([(1, 500), (1, 700), (256, 0)]), merge_qkv=True)
    parts = arranged(trace, two(co_process="near", co_process_parts=("attention",)))
    prompt, decode = parts.op("layer.attention"), parts.op("layer.attention~near")
    assert {s.new_tokens for s in prompt.segments} == {256}
    assert {s.new_tokens for s in decode.segments} == {1}


def test_co_processing_helps_and_never_beats_both_engines_together() -> None:
    alone, shared = simulate(opt(), two()).latency_s, simulate(opt(), two(co_process="near")).latency_s
    assert alone / 2 < shared < alone


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ChipsmithError) as error:
        arranged(opt(), two(co_process="nera"))
    assert str(error.value) == "chip.policy.co_process: got 'nera'; did you mean 'near'? known: gpu, near"


@given(st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_head_groups_conserve_work_and_chain_the_sums(groups: int) -> None:
    trace = opt()
    parts = group_heads(trace, groups).check()
    for attribute in ("macs", "weight_bytes", "kv_read_bytes"):
        assert by_base(parts, attribute) == by_base(trace, attribute)
    assert sum(op.kind == "attention" for op in parts.ops) == groups
    last = parts.op(f"layer.o_proj~{groups - 1}") if groups > 1 else parts.op("layer.o_proj")
    assert last.outputs and parts.tensors[last.outputs[0]].name == "layer.o_proj"


def test_groups_pass_through_rotary_positions() -> None:
    trace = build_trace("llama-2-7b", Batch.decode(4, 300))
    parts = group_heads(trace, 4).check()
    assert by_base(parts, "input_elements")["layer.rope"] == by_base(trace, "input_elements")["layer.rope"]
    assert parts.op("layer.rope~3").width_in == trace.op("layer.rope").width_in // 4


def test_prompts_are_left_alone() -> None:
    trace = build_trace("opt-6.7b", Batch.prefill([64]))
    assert group_heads(trace, 4) is trace


def test_groups_that_do_not_divide_the_heads_are_refused() -> None:
    with pytest.raises(ChipsmithError) as error:
        group_heads(opt(), 5)
    assert str(error.value) == "policy.head_groups: got 5; a divisor of the 32 heads of layer.attention"
