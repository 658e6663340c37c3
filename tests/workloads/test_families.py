"""What families have of their own: layers of several kinds, sinks, sub-norms, recurrences, published formats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.lower import lower
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import list_configs, load_config
from workloads.layers.decoder import runs
from workloads.precision import Precision

# ---------------------------------------------------------------- layers of several kinds


def test_local_and_global_layers_of_gemma_2_take_turns() -> None:
    trace = build_trace("gemma-2-2b", Batch.decode(2, 8000))
    assert [(block.name, block.count) for block in trace.blocks] == [("embed", 1), ("layers", 13), ("head", 1)]
    names = (
        "attn_norm q_proj k_proj v_proj rope attention o_proj attn_post_norm attn_add "
        "mlp_norm gate_proj up_proj gelu_mul down_proj mlp_post_norm mlp_add"
    )
    expected = [f"layer.{kind}.{name}" for kind in ("sliding", "full") for name in names.split()]
    assert [op.name for op in trace.rows_of("layers")] == expected
    local, whole = trace.op("layer.sliding.attention"), trace.op("layer.full.attention")
    assert (local.window, whole.window, local.function) == (4096, 0, "softmax_softcap")
    assert (local.macs, whole.macs) == (2 * 8 * 4096 * 512, 2 * 8 * 8001 * 512)
    assert trace.meta["kv_cache_bytes"] == 13 * 2 * (4096 + 8001) * 2 * 4 * 256 * 2
    (written, read), = trace.blocks[1].carried  # fmt: skip
    assert (trace.tensors[written].name, trace.tensors[read].name) == ("layer.full.mlp_add", "embed_scale")
    assert [op.name for op in trace.rows_of("head")] == ["final_norm", "lm_head", "logit_softcap"]


def test_five_local_layers_before_each_global_one_of_gemma_3() -> None:
    trace = build_trace("gemma-3-1b", Batch.prefill([1000]))
    assert [(block.name, block.count) for block in trace.blocks[1:3]] == [("layers", 4), ("layers_2", 2)]
    windows = [op.window for op in trace.rows_of("layers") if op.kind == "attention"]
    assert windows == [512] * 5 + [0]
    assert trace.op("layer.sliding_5.q_norm").width_in == 256
    assert trace.op("layer_2.sliding.q_proj").n == 1024
    pairs = 22 * (512 * 513 // 2 + 488 * 512) + 4 * 1000 * 1001 // 2
    attention = sum(op.macs * trace.blocks[op.block].count for op in trace.ops if op.kind == "attention")
    assert attention == 4 * 512 * pairs


def test_layer_types_of_a_file_decide() -> None:
    config = load_config("gemma-3-1b")
    kinds = ["full_attention", "sliding_attention", "sliding_attention"]
    trace = build_trace(config.with_fields(num_hidden_layers=3, layer_types=kinds), Batch.prefill([4]))
    assert [(block.name, block.count) for block in trace.blocks[1:3]] == [("layers", 1), ("layers_2", 2)]
    assert trace.op("layer.full.attention").window == 0


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("aaaa", [("a", 4)]),
        ("abababab", [("ab", 4)]),
        ("aaaaabaaaaabaaaaabaa", [("aaaaab", 3), ("a", 2)]),
        ("aaabbbb", [("a", 3), ("b", 4)]),
        ("abcabcab", [("abc", 2), ("ab", 1)]),
        ("", []),
    ],
)
def test_runs_by_hand(kinds: str, expected: list[tuple[str, int]]) -> None:
    assert [("".join(pattern), count) for pattern, count in runs(tuple(kinds))] == expected


@given(st.lists(st.sampled_from("ab"), max_size=24))
def test_runs_give_back_the_layers_in_order(kinds: list[str]) -> None:
    found = runs(tuple(kinds))
    assert [kind for pattern, count in found for kind in pattern * count] == kinds
    assert sum(len(pattern) for pattern, _ in found) <= len(kinds)


# ---------------------------------------------------------------- families with parts of their own


def test_matrices_that_the_model_itself_merges() -> None:
    trace = build_trace("phi-4", Batch.prefill([10]))
    assert (trace.op("layer.qkv_proj").n, trace.op("layer.gate_up_proj").n) == (5120 + 2 * 1280, 2 * 17920)
    assert trace.op("layer.silu_mul").width_in == 2 * 17920


def test_sinks_and_biases_of_gpt_oss() -> None:
    trace = build_trace("gpt-oss-20b", Batch.decode(1, 1000), Precision())
    local, whole = trace.op("layer.sliding.attention"), trace.op("layer.full.attention")
    assert (local.window, whole.window, local.function) == (128, 0, "softmax_sinks")
    assert local.weight_bytes == 64 * 2  # one logit a head
    assert trace.op("layer.full.router").weight_bytes == (2880 * 32 + 32) * 2
    assert trace.op("layer.full.o_proj").weight_bytes == (4096 * 2880 + 2880) * 2
    down = trace.op("layer.full.experts_down_proj")
    assert (down.pieces, down.weight_bytes) == (4, 4 * (2880 * 2880 + 2880) * 2)
    shard = build_trace("gpt-oss-20b", Batch.decode(1, 1000), Precision(), 8).op("layer.full.attention")
    assert (shard.heads, shard.kv_heads, shard.weight_bytes) == (8, 1, 8 * 2)


def test_bitnet_norms_before_its_output_projections() -> None:
    config = load_config("bitnet-b1.58-2b-4t").with_fields(num_key_value_heads=4)  # 5 can't be dealt
    trace = build_trace(config, Batch.prefill([10]), tensor_parallel=2)
    rows = [op.name.removeprefix("layer.") for op in trace.rows_of("layers")]
    after = {name: rows[rows.index(name) - 2 : rows.index(name)] for name in ("o_proj", "down_proj")}
    assert after == {
        "o_proj": ["attn_sub_norm", "attn_sub_norm_all_reduce"],
        "down_proj": ["ffn_sub_norm", "ffn_sub_norm_all_reduce"],
    }
    assert trace.op("layer.attn_sub_norm").param_width == 2560 // 2
    assert trace.op("layer.ffn_sub_norm_all_reduce").width_in == 1  # a sum of squares a token


def test_attention_and_scan_side_by_side_in_falcon_h1() -> None:
    trace = build_trace("falcon-h1-1.5b", Batch.decode(3, 100), tensor_parallel=2)
    rows = [op.name.removeprefix("layer.") for op in trace.rows_of("layers")]
    assert rows[:4] == ["attn_norm", "q_proj", "k_proj", "v_proj"]
    assert rows[rows.index("o_proj") :][:10] == [
        "o_proj", "in_proj", "conv1d", "ssd", "gated_norm", "gated_norm_all_reduce", "out_proj", "heads_add",
        "heads_all_reduce", "attn_add",
    ]  # fmt: skip
    by_row = {op.name: op for op in trace.ops}
    inputs = by_row["layer.q_proj"].inputs[0], by_row["layer.in_proj"].inputs[0]
    assert inputs[0] == inputs[1]
    scan = trace.op("layer.ssd")
    assert (scan.heads, scan.qk_dim, scan.v_dim) == (24, 64, 256)
    assert scan.kv_width == 24 * 64 * 256 + (24 * 64 + 2 * 256) * 3
    held = 24 * 3 * (scan.kv_width + 101 * 2 * 128) * 2  # one KV head a rank
    assert trace.meta["kv_cache_bytes"] == held


def test_gate_without_a_norm() -> None:
    row = build_trace("falcon-h1-0.5b", Batch.prefill([10])).op("layer.gate_silu_mul")
    assert (row.width_in, row.width_out, row.param_width) == (2 * 1536, 1536, 0)


def test_recurrence_of_rwkv_7() -> None:
    short, long = (build_trace("rwkv7-1.5b", Batch.decode(4, context)) for context in (10, 100_000))
    scan = long.op("layer.wkv")
    assert scan.macs == 4 * 4 * 32 * 64 * 64  # four a token and state element
    assert scan.kv_width == 32 * 64 * 64 + 2 * 2048
    assert short.meta["kv_cache_bytes"] == long.meta["kv_cache_bytes"] == 24 * 4 * scan.kv_width * 2
    assert (short.macs, long.meta["kv_bytes_per_token"]) == (long.macs, 0)
    assert [(block.name, block.count) for block in long.blocks[1:3]] == [("first_layer", 1), ("layers", 23)]
    names = [{op.name.partition(".")[2] for op in long.rows_of(block)} for block in ("first_layer", "layers")]
    assert names[0] - names[1] == {"embed_norm"}
    assert names[1] - names[0] == {"value_down_proj", "value_up_proj"}


def test_engines_know_every_function_of_every_shipped_model() -> None:
    for name in list_configs():
        trace = build_trace(name, Batch.decode(1, 16))
        assert set(lower(trace).trace_row.tolist()) == set(range(len(trace.ops))), name


# ---------------------------------------------------------------- formats that models are published in


@pytest.mark.parametrize(("name", "size_gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_gpt_oss_takes_the_bytes_of_its_published_checkpoint(name: str, size_gib: float) -> None:
    """Checkpoint sizes: arXiv:2508.10925, Table 1 (experts in MXFP4, all else bf16)."""
    trace = build_trace(name, Batch.decode(1, 10))
    assert round(int(str(trace.meta["parameter_bytes"])) / 2**30, 1) == size_gib
    assert (trace.meta["expert_weights"], trace.op("layer.full.q_proj").weight) == ("mxfp4", "bf16")
    row = trace.op("layer.full.experts_up_proj")
    assert row.weight_bytes == 4 * (2880 * 2880 * 17 // 32 + 2880 * 2)  # 4 bits and one 8-bit scale for 32


def test_bitnet_is_ternary_unless_told_otherwise() -> None:
    trace = build_trace("bitnet-b1.58-2b-4t", Batch.decode(1, 10))
    row, table = trace.op("layer.up_proj"), trace.op("lm_head")
    assert (row.weight, row.act, row.kv, table.weight) == ("ternary", "int8", "bf16", "bf16")
    assert row.weight_bytes == 2560 * 6912 * 2 // 8
    assert trace.meta["accumulate"] == "int32"
    wide = build_trace("bitnet-b1.58-2b-4t", Batch.decode(1, 10), Precision())
    assert (wide.op("layer.up_proj").weight, "expert_weights" in wide.meta) == ("fp16", False)
    assert load_config("bitnet-b1.58-2b-4t").with_fields(num_hidden_layers=1).precision is not None


def test_an_explicit_precision_holds_for_experts_too() -> None:
    trace = build_trace("gpt-oss-20b", Batch.decode(1, 10), Precision("int8"))
    assert trace.op("layer.full.experts_up_proj").weight == "int8"
    assert "expert_weights" not in trace.meta
