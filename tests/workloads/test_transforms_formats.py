"""with_quantization and with_sparsity on whole models: bytes by hand, exceptions, equality with built traces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.trace import Operator, Segment, Trace

DECODE = Batch.decode(2, [100, 700])
PROJECTIONS = 4 * 4096 * 4096 + 3 * 4096 * 11008  # of one layer of Llama-2-7B
TABLE = 4096 * 32000


@pytest.fixture(scope="module")
def llama() -> Trace:
    return build_trace("llama-2-7b", DECODE)


def same_cost(one: Trace, other: Trace) -> bool:
    """Equal rows but for the formats of operands that a row does not have, equal tensors and memory."""
    forms = {"act": "", "out": "", "weight": "", "kv": "", "weight_group": 0, "kv_group": 0}
    bare = [tuple(replace(op, **forms) for op in trace.ops) for trace in (one, other)]  # type: ignore[arg-type]  # str, int
    names = ("weight_bytes", "input_bytes", "output_bytes", "kv_read_bytes", "kv_write_bytes", "macs")
    costs = [[tuple(getattr(op, name) for name in names) for op in trace.ops] for trace in (one, other)]
    sums = ("parameter_bytes", "kv_cache_bytes", "kv_bytes_per_token", "accumulate")
    memory = [[trace.meta[name] for name in sums] for trace in (one, other)]
    return bare[0] == bare[1] and costs[0] == costs[1] and one.tensors == other.tensors and memory[0] == memory[1]


# ---------------------------------------------------------------- quantisation


@pytest.mark.parametrize("name", ["llama-2-7b", "gpt2", "mixtral-8x7b", "mamba2-2.7b", "deepseek-v2", "qwen3-8b"])
def test_weight_only_quantisation_equals_a_trace_built_so(name: str) -> None:
    form = Precision("int4", kv="int8", weight_group=128, kv_group=64, embeddings="fp16")
    plain = build_trace(name, DECODE).with_quantization("int4", kv="int8", weight_group=128, kv_group=64)
    assert same_cost(plain.check(), build_trace(name, DECODE, form))


@pytest.mark.parametrize("name", ["llama-2-7b", "mixtral-8x7b"])
def test_activations_of_all_rows_equal_a_trace_built_so(name: str) -> None:
    plain = build_trace(name, DECODE).with_quantization(activations="int8", except_=())
    assert same_cost(plain.check(), build_trace(name, DECODE, Precision(activations="int8")))
    assert plain.meta["precision"] == Precision(activations="int8").to_dict()


@pytest.mark.parametrize(
    ("form", "group", "layer_bytes"),
    [
        ("int8", 0, PROJECTIONS),
        ("int4", 0, PROJECTIONS // 2),
        ("int4", 128, PROJECTIONS // 2 + PROJECTIONS // 128 * 2),
        ("int3", 0, PROJECTIONS * 3 // 8),
        ("mxfp4", 0, PROJECTIONS // 2 + PROJECTIONS // 32),
        ("nvfp4", 0, PROJECTIONS // 2 + PROJECTIONS // 16),
        ("ternary", 0, PROJECTIONS // 4),
        ("int1", 0, PROJECTIONS // 8),
    ],
)
def test_weight_bytes_of_llama_by_hand(llama: Trace, form: str, group: int, layer_bytes: int) -> None:
    trace = llama.with_quantization(form, weight_group=group).check()
    gains = (2 * 32 + 1) * 4096 * 2
    assert trace.weight_bytes == 32 * layer_bytes + TABLE * 2 + gains + 2 * 4096 * 2  # two rows of the embedding
    assert trace.meta["parameter_bytes"] == 32 * layer_bytes + 2 * TABLE * 2 + gains
    assert (trace.macs, trace.kv_read_bytes) == (llama.macs, llama.kv_read_bytes)


def test_five_ternary_digits_fill_a_byte(llama: Trace) -> None:
    rows = (4096 * 4096, 4096 * 11008)
    trace = llama.with_quantization("ternary5", only=("q_proj", "down_proj"))
    assert [trace.op(f"layer.{name}").weight_bytes for name in ("q_proj", "down_proj")] == [-(-n // 5) for n in rows]
    assert trace.op("layer.k_proj").weight_bytes == 4096 * 4096 * 2


def test_exceptions_per_operator(llama: Trace) -> None:
    kept = llama.with_quantization("int4", except_=("lm_head", "embed*", "down_proj"))
    assert [kept.op(f"layer.{name}").weight for name in ("up_proj", "down_proj")] == ["int4", "fp16"]
    assert (kept.op("lm_head").weight, kept.op("embed_tokens").weight) == ("fp16", "fp16")
    every = llama.with_quantization("int4", except_=())
    assert (every.op("lm_head").weight, every.op("embed_tokens").weight) == ("int4", "int4")
    assert every.op("layer.attn_norm").weight == "fp16"
    mixed = kept.with_quantization("int8", only="down_proj")
    assert [mixed.op(f"layer.{name}").weight for name in ("up_proj", "down_proj")] == ["int4", "int8"]
    assert [list(call) for call in mixed.meta["transforms"]["quantization"]] == [  # type: ignore[index]  # an object
        ["weights", "except_"],
        ["weights", "only"],
    ]


def test_routers_stay_wide() -> None:
    trace = build_trace("mixtral-8x7b", DECODE).with_quantization("int4")
    assert (trace.op("layer.router").weight, trace.op("layer.experts_up_proj").weight) == ("fp16", "int4")


def test_w4a8_of_projections_leaves_the_residual_stream_wide(llama: Trace) -> None:
    trace = llama.with_quantization("int4", "int8", weight_group=128, only="*_proj").check()
    forms = {op.name: (op.act, op.out) for op in trace.ops}
    assert forms["layer.attn_norm"] == ("fp16", "int8")
    assert forms["layer.q_proj"] == ("int8", "fp16")
    assert forms["layer.rope"] == ("fp16", "fp16")
    assert forms["layer.attention"] == ("fp16", "int8")
    assert forms["layer.o_proj"] == ("int8", "fp16")
    assert forms["layer.attn_add"] == ("fp16", "fp16")
    assert forms["layer.silu_mul"] == ("fp16", "int8")
    assert forms["lm_head"] == ("fp16", "fp16")
    assert trace.op("layer.q_proj").input_bytes == 2 * 4096
    assert trace.meta["precision"] == llama.meta["precision"]  # of some rows only


def test_a_head_left_out_reads_what_is_written_wide(llama: Trace) -> None:
    trace = llama.with_quantization(activations="int8").check()
    assert (trace.op("final_norm").act, trace.op("final_norm").out) == ("int8", "fp16")
    assert (trace.op("lm_head").act, trace.op("lm_head").out) == ("fp16", "fp16")
    assert (trace.op("embed_tokens").out, trace.op("layer.mlp_add").out) == ("int8", "int8")


def test_a_tied_table_is_quantised_whole_or_not_at_all() -> None:
    trace = build_trace("gpt2", DECODE)
    with pytest.raises(ChipsmithError) as caught:
        trace.with_quantization("int8", only="lm_head", except_=())
    assert str(caught.value) == "embed_tokens.weight; is shared by embed_tokens, lm_head: choose all of them or none"
    both = trace.with_quantization("int8", only=("lm_head", "embed_tokens"), except_=())
    assert both.check().op("lm_head").weight_bytes == 768 * 50257


def test_rows_without_tensors_change_by_themselves() -> None:
    op = Operator("g", "gemm", 0, (Segment(8),), k=64, n=4)
    trace = Trace("t", (op,)).with_quantization("int4", "int8")
    assert (trace.op("g").weight, trace.op("g").act, trace.op("g").out) == ("int4", "int8", "int8")
    assert trace.resident_bytes == 128


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "quantization; legal: a format of weights, activations or kv"),
        ({"weights": "int9"}, "quantization.weights: got 'int9'; did you mean 'int8'? known: "),
        ({"kv": "int8", "kv_group": -1}, "quantization.kv_group: got -1; legal: 0 (no scales) or more"),
        ({"kv_group": 64, "weights": "int8"}, "quantization.kv_group: got 64; goes with a format of kv"),
        (
            {"weights": "mxfp4", "weight_group": 64},
            "quantization.weight_group: got 64; legal: 0, mxfp4 brings a scale for every 32 elements",
        ),
        ({"weights": "int4", "only": "qproj"}, "only: got 'qproj'; no row has this name; did you mean 'q_proj'? "),
        ({"weights": "int4", "except_": "experts*"}, "except_: got 'experts*'; no row has this name; known: "),
        ({"weights": "int4", "only": "*_norm"}, "only: got '*_norm'; legal: patterns that name a row with weights"),
        (
            {"weights": "int4", "only": "lm_head"},
            "only, except_: got (['lm_head'], ['embed_tokens', 'lm_head', 'router', 'predictor_*', '*_latent']); "
            "legal: patterns that leave a row",
        ),
    ],
)
def test_refusals_of_quantisation(llama: Trace, arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        llama.with_quantization(**arguments)  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value).startswith(text)


@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from([0, 64, 128]))
@settings(max_examples=20)
def test_fewer_bits_never_take_more_bytes(one: int, other: int, group: int) -> None:
    trace = build_trace("opt-125m", DECODE)
    few, many = sorted((one, other))
    low, high = (
        trace.with_quantization(f"int{bits}", f"int{bits}", f"int{bits}", weight_group=group, kv_group=group)
        for bits in (few, many)
    )
    for narrow, wide in zip(low.ops, high.ops, strict=True):
        for name in ("weight_bytes", "input_bytes", "output_bytes", "kv_read_bytes", "kv_write_bytes"):
            assert getattr(narrow, name) <= getattr(wide, name)
        assert narrow.macs == wide.macs
    assert low.resident_bytes <= high.resident_bytes


# ---------------------------------------------------------------- sparsity


def test_two_of_four_in_llama_by_hand(llama: Trace) -> None:
    trace = llama.with_sparsity("2:4").check()
    half = PROJECTIONS // 2
    assert trace.op("layer.q_proj").weight_bytes == 4096 * 4096 // 2 * 2 + 4096 * 4096 // 2 * 2 // 8
    gains, rows = (2 * 32 + 1) * 4096 * 2, 2 * 4096 * 2
    assert trace.weight_bytes == 32 * (half * 2 + half * 2 // 8) + TABLE * 2 + gains + rows
    assert trace.meta["parameter_bytes"] == 32 * (half * 2 + half // 4) + 2 * TABLE * 2 + gains
    attention = 32 * trace.op("layer.attention").macs
    assert trace.macs == llama.macs
    assert trace.effective_macs == 2 * (32 * half + TABLE) + attention
    assert trace.op("lm_head").sparsity == "dense"


def test_stored_zeros_move_whole_matrices(llama: Trace) -> None:
    trace = llama.with_sparsity("2:4+zeros").check()
    assert (trace.weight_bytes, trace.resident_bytes) == (llama.weight_bytes, llama.resident_bytes)
    assert trace.effective_macs == llama.with_sparsity("2:4").effective_macs


def test_activations_and_scores_have_patterns_of_their_own(llama: Trace) -> None:
    trace = llama.with_sparsity(
        "2:4", activations="unstructured@0.5", attention="block:1x50@0.5", only=("down_proj", "attention")
    ).check()
    down, attend = trace.op("layer.down_proj"), trace.op("layer.attention")
    assert down.effective_macs == down.macs // 4
    # 101 keys: 3 blocks, 2 kept; 701 keys: 15 blocks, 8 kept
    assert [attend.keys(s) for s in attend.segments] == [100, 400]
    assert trace.op("layer.up_proj") == llama.op("layer.up_proj")


def test_a_pruned_expert_keeps_what_all_experts_store() -> None:
    plain = build_trace("mixtral-8x7b", Batch.decode(1, 9))
    trace = plain.with_sparsity("2:4", only="experts_*").check()
    saved = 32 * 3 * 8 * 4096 * 14336 * 2 * 7 // 16  # a half of the weights, an eighth of the other half for the index
    assert plain.resident_bytes - trace.resident_bytes == saved
    assert (plain.weight_bytes - trace.weight_bytes) * 4 == saved  # two of eight experts are read


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "sparsity; legal: a pattern of weights, activations or attention"),
        ({"weights": "2-4"}, "sparsity.weights: got '2-4'; legal: dense, N:M, block:RxC@density, unstructured@"),
        ({"attention": "2:4", "only": "q_proj"}, "only: got 'q_proj'; legal: patterns that name a row with attention"),
    ],
)
def test_refusals_of_sparsity(llama: Trace, arguments: dict[str, str], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        llama.with_sparsity(**arguments)
    assert str(caught.value).startswith(text)


def test_a_row_has_one_pattern(llama: Trace) -> None:
    once = llama.with_sparsity("2:4", only="q_proj")
    assert once.with_sparsity("2:4", only="q_proj").ops == once.ops
    with pytest.raises(ChipsmithError) as caught:
        once.with_sparsity("unstructured@0.5")
    assert str(caught.value) == (
        "sparsity.weights: got 'unstructured@0.5'; layer.q_proj is 2:4 already: give a row one pattern"
    )
