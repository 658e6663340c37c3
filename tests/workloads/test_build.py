"""Built traces against hand-computed counts, and what must hold for every model."""

from __future__ import annotations

import sys
from functools import cache
from subprocess import run

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.lower import lower
from workloads.batch import Batch
from workloads.build import build_trace, families
from workloads.configs import ModelConfig, load_config
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.routing import Routing
from workloads.trace import Segment, Trace

ONE_OF_EACH = ("llama-2-7b", "mistral-7b", "qwen2-7b", "qwen3-8b", "gpt2", "opt-125m", "bloom-176b", "mixtral-8x7b",
               "qwen3-30b-a3b", "deepseek-v3", "deepseek-v2", "mamba2-2.7b", "gemma-2-2b", "gemma-3-1b", "phi-3-mini",
               "gpt-oss-20b", "bitnet-b1.58-2b-4t", "falcon-h1-1.5b", "rwkv7-0.4b")  # fmt: skip
PAIRS = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=5)


@cache
def one_layer(name: str) -> ModelConfig:
    return load_config(name).with_fields(num_hidden_layers=1)


@cache
def few_layers(name: str) -> ModelConfig:
    """At most one layer of each kind, for properties that are tried often."""
    config = load_config(name)
    return config.with_fields(num_hidden_layers=2) if config.model_type in ("gemma3_text", "rwkv7") else config


def gmac(trace: Trace, name: str | None = None) -> float:
    return round((trace.macs if name is None else trace.op(name).macs) / 1e9, 3)


def test_one_layer_of_llama_2_7b() -> None:
    trace = build_trace(one_layer("llama-2-7b"), Batch.prefill([2048]))
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        assert gmac(trace, f"layer.{name}") == 34.360
    for name in ("gate_proj", "up_proj", "down_proj"):
        assert gmac(trace, f"layer.{name}") == 92.342
    assert (gmac(trace, "layer.attention"), gmac(trace, "lm_head"), gmac(trace)) == (17.188, 0.131, 431.784)


def test_q_proj_operations_and_bytes() -> None:
    op = build_trace("llama-2-7b", Batch.prefill([2048])).op("layer.q_proj")
    assert 2 * op.macs == 68_719_476_736
    assert op.weight_bytes + op.input_bytes + op.output_bytes == 67_108_864


def test_one_layer_of_mixtral() -> None:
    trace = build_trace(one_layer("mixtral-8x7b"), Batch.prefill([2048]))
    assert gmac(trace, "layer.experts_gate_proj") + gmac(trace, "layer.experts_up_proj") == pytest.approx(481.036)
    assert gmac(trace, "layer.experts_down_proj") == 240.518
    assert (gmac(trace, "layer.router"), gmac(trace, "layer.k_proj"), gmac(trace, "layer.v_proj")) == (
        0.067,
        8.59,
        8.59,
    )


@pytest.mark.parametrize(
    ("name", "layers", "batch", "mla", "expected"),
    [
        ("llama-2-7b", 1, Batch.decode(1, 2048), "auto", 0.350),
        ("llama-2-7b", 1, Batch.decode(8, 4096), "auto", 2.936),
        ("llama-2-7b", 32, Batch.decode(8, 4096), "auto", 61.449),
        ("mixtral-8x7b", 1, Batch.prefill([2048]), "auto", 824.840),
        ("mixtral-8x7b", 1, Batch.decode(1, 2048), "auto", 0.542),
        ("mixtral-8x7b", 1, Batch.decode(8, 4096), "auto", 4.471),
        ("mixtral-8x7b", 32, Batch.prefill([2048]), "auto", 26390.826),
        ("qwen2-7b", 1, Batch.prefill([512] * 8), "auto", 966.447),
        ("qwen2-7b", 1, Batch.decode(8, 4096), "auto", 6.459),
        ("deepseek-v3", 1, Batch.prefill([512] * 8), "auto", 2440.328),
        ("deepseek-v3", 1, Batch.decode(8, 4096), "naive", 563.179),
        ("deepseek-v3", 4, Batch.decode(8, 4096), "naive", 2230.492),
        ("gpt-oss-20b", 1, Batch.decode(8, 4096), "auto", 5.651),
        ("gpt-oss-20b", 24, Batch.decode(8, 4096), "auto", 32.180),
    ],
)
def test_counts_of_traced_models(name: str, layers: int, batch: Batch, mla: str, expected: float) -> None:
    """The same steps traced from the models' PyTorch code count this many 10^9 MACs."""
    config = load_config(name).with_fields(num_hidden_layers=layers)
    assert gmac(build_trace(config, batch, mla=mla)) == expected


def test_absorbed_latent_attention() -> None:
    trace = build_trace("deepseek-v3", Batch.decode(8, 4096))
    row = trace.op("layer.attention_absorbed")
    shape = (row.heads, row.kv_heads, row.qk_dim, row.v_dim, row.kv_width)
    assert shape == (128, 1, 576, 512, 576)
    assert row.macs == 8 * 128 * 4097 * (576 + 512)
    assert row.kv_read_bytes == 8 * 4096 * 576 * 2
    assert trace.op("layer.q_absorb").macs == 8 * 128 * 128 * 512
    assert trace.op("layer.o_absorb").macs == 8 * 128 * 512 * 128
    assert trace.meta["kv_bytes_per_token"] == 70_272
    assert "layer.kv_b_proj" not in [op.name for op in trace.ops]


def test_mixed_steps_take_the_form_that_suits_each_request() -> None:
    trace = build_trace("deepseek-v3", Batch.from_pairs([(64, 32), (1, 500), (1, 600)]))
    assert trace.op("layer.attention").segments == (Segment(64, 32),)
    assert trace.op("layer.attention_absorbed").segments == (Segment(1, 500), Segment(1, 600))
    assert trace.op("layer.kv_b_proj").tokens == 96  # the cached 32 are expanded again
    assert trace.op("layer.attention").input_elements == 64 * (128 * 192 + 576) + 96 * 128 * 256
    assert trace.meta["kv_cache_bytes"] == (96 + 501 + 601) * 70_272


def test_latent_forms_compute_on_the_same_parameters() -> None:
    batch = Batch.decode(4, 100)
    sizes = {build_trace("deepseek-v3", batch, mla=form).meta["parameters"] for form in ("naive", "absorbed", "auto")}
    assert sizes == {671_026_419_200}


def test_decode_attention_reads_kv_heads_not_query_heads() -> None:
    op = build_trace("mixtral-8x7b", Batch.decode(1, 2048)).op("layer.attention")
    assert op.kv_read_bytes == 2 * 2048 * 8 * 128 * 2
    assert op.kv_write_bytes == 2 * 8 * 128 * 2


def test_sliding_window_limits_work_reads_and_cache() -> None:
    trace = build_trace("mistral-7b", Batch.decode(2, 10_000))
    op = trace.op("layer.attention")
    assert op.macs == 2 * 32 * 4096 * 256
    assert op.kv_read_bytes == 2 * 4095 * 2048 * 2
    assert trace.meta["kv_cache_bytes"] == 2 * 4096 * 2048 * 2 * 32


def test_rows_of_a_llama_layer() -> None:
    trace = build_trace("llama-2-7b", Batch.prefill([16]))
    names = (
        "attn_norm q_proj k_proj v_proj rope attention o_proj attn_add "
        "mlp_norm gate_proj up_proj silu_mul down_proj mlp_add"
    )
    assert [op.name for op in trace.rows_of("layers")] == [f"layer.{name}" for name in names.split()]
    assert [block.count for block in trace.blocks] == [1, 32, 1]
    (written, read), = trace.blocks[1].carried  # fmt: skip
    assert (trace.tensors[written].name, trace.tensors[read].name) == ("layer.mlp_add", "embed_tokens")


def test_qwen3_norms_each_head() -> None:
    op = build_trace("qwen3-8b", Batch.prefill([10])).op("layer.k_norm")
    assert (op.tokens, op.width_in, op.param_width) == (10 * 8, 128, 128)


def test_learned_positions_are_gathered_with_the_tokens() -> None:
    op = build_trace("opt-6.7b", Batch.prefill([10])).op("embed_tokens")
    assert (op.weight_bytes, op.output_bytes) == (10 * 2 * 4096 * 2, 10 * 4096 * 2)


def test_biases_are_parameters_of_their_gemm() -> None:
    op = build_trace("qwen2-7b", Batch.prefill([10]), Precision("int4")).op("layer.k_proj")
    assert op.weight_bytes == 3584 * 512 // 2 + 512 * 2
    assert op.weight_elements == 3584 * 512 + 512


def test_state_space_model_has_a_constant_state() -> None:
    short, long = (build_trace("mamba2-2.7b", Batch.decode(4, context)) for context in (10, 100_000))
    scan = long.op("layer.ssd")
    assert scan.kv_width == 80 * 64 * 128 + (5120 + 2 * 128) * 3
    assert scan.macs == 2 * 4 * 80 * 64 * 128
    assert scan.kv_read_bytes == scan.kv_write_bytes == 4 * scan.kv_width * 2
    assert short.meta["kv_cache_bytes"] == long.meta["kv_cache_bytes"] == 64 * scan.kv_read_bytes
    assert (short.macs, long.meta["kv_bytes_per_token"]) == (long.macs, 0)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_option_gives_a_legal_trace(name: str) -> None:
    batches = (Batch.prefill([5, 7, 5]), Batch.decode(3, [4, 4, 9]), Batch.from_pairs([(3, 0), (1, 8), (2, 9)]))
    for batch in batches:
        build_trace(name, batch).check()
        ranks = 1 if name.startswith("bitnet") else 2  # its 5 KV heads and 6912 features have no divisor in common
        build_trace(name, batch, Precision("int4", "int8", "int8", 128, 64), ranks, logits="all").check()
        build_trace(name, batch, merge_qkv=True, merge_gate_up=True, logits="none").check()
    assert load_config(name).model_type in families()


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_row_can_be_simulated(name: str) -> None:
    trace = build_trace(few_layers(name), Batch.decode(2, 50))
    assert set(lower(trace).trace_row) == set(range(len(trace.ops)))


@pytest.mark.parametrize("name", ["llama-2-7b", "gpt2", "mixtral-8x7b", "mamba2-2.7b", "phi-3-mini", "falcon-h1-0.5b"])
def test_layers_repeat_by_count(name: str) -> None:
    field = "n_layer" if name == "gpt2" else "num_hidden_layers"
    batch = Batch.prefill([100])
    many, one = (build_trace(load_config(name).with_fields(**{field: n}), batch) for n in (12, 1))
    layer = sum(op.macs for op in one.rows_of("layers"))
    rest = sum(op.macs for op in (*one.rows_of("embed"), *one.rows_of("head")))
    assert layer > rest > 0
    assert many.macs - 11 * layer == one.macs == layer + rest
    assert len(many.ops) == len(one.ops)
    assert many.with_counts({"layers": 1}).macs == one.macs


@pytest.mark.parametrize("name", ONE_OF_EACH)
@settings(max_examples=12)
@given(st.integers(1, 400), st.integers(1, 400))
def test_chunks_sum_to_one_prefill(name: str, first: int, second: int) -> None:
    model = few_layers(name)
    whole = build_trace(model, Batch.prefill([first + second]), logits="none", mla="absorbed")
    chunks = [Batch.prefill([first]), Batch.uniform(1, second, first)]
    parts = [build_trace(model, chunk, logits="none", mla="absorbed") for chunk in chunks]
    assert sum(part.macs for part in parts) == whole.macs
    assert sum(int(str(part.meta["tokens"])) for part in parts) == whole.meta["tokens"]
    assert parts[1].meta["kv_cache_bytes"] == whole.meta["kv_cache_bytes"]


@given(st.integers(1, 400), st.integers(1, 400))
def test_naive_chunks_pay_for_expanding_the_cache_again(first: int, second: int) -> None:
    whole = build_trace("deepseek-v2", Batch.prefill([first + second]), logits="none", mla="naive")
    chunks = [Batch.prefill([first]), Batch.uniform(1, second, first)]
    parts = [build_trace("deepseek-v2", chunk, logits="none", mla="naive") for chunk in chunks]
    assert sum(part.macs for part in parts) - whole.macs == 60 * first * 512 * 128 * 256


@pytest.mark.parametrize("name", ONE_OF_EACH)
@settings(max_examples=12)
@given(st.integers(2, 50), st.integers(1, 60), st.integers(0, 300))
def test_a_batch_is_so_many_requests_apart_from_weights(name: str, batch: int, new: int, context: int) -> None:
    one, many = (build_trace(few_layers(name), Batch.uniform(n, new, context)) for n in (1, batch))
    assert many.macs == batch * one.macs
    assert many.kv_read_bytes == batch * one.kv_read_bytes
    assert many.meta["kv_cache_bytes"] == batch * int(str(one.meta["kv_cache_bytes"]))
    assert many.meta["parameter_bytes"] == one.meta["parameter_bytes"]
    for left, right in zip(one.ops, many.ops, strict=True):
        if left.kind in ("norm", "elementwise", "collective", "attention") or left.name.endswith("_proj"):
            assert right.output_bytes == batch * left.output_bytes
        if left.kind != "gather" and not left.per_segment_weights:
            assert right.weight_bytes == left.weight_bytes


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-70b", "opt-6.7b", "mixtral-8x7b", "qwen3-30b-a3b"])
@given(PAIRS, st.sampled_from([2, 4]))
def test_ranks_share_all_work(name: str, pairs: list[tuple[int, int]], ranks: int) -> None:
    batch = Batch.from_pairs(pairs)
    whole, rank = build_trace(name, batch), build_trace(name, batch, tensor_parallel=ranks)
    routers = sum(op.macs * whole.blocks[op.block].count for op in whole.ops if op.name.endswith("router"))
    assert (rank.macs - routers) * ranks == whole.macs - routers
    assert rank.kv_read_bytes * ranks == whole.kv_read_bytes
    reduced = [op for op in rank.ops if op.kind == "collective"]
    assert [(op.function, op.block) for op in reduced] == [
        ("all_reduce", 0), ("all_reduce", 1), ("all_reduce", 1), ("all_gather", 2)
    ]  # fmt: skip
    hidden = rank.op("final_norm").width_in
    assert all(op.width_in == hidden and op.ranks == ranks for op in reduced[:3])


def test_kv_heads_are_copied_where_there_are_more_ranks() -> None:
    trace = build_trace("llama-3-8b", Batch.decode(1, 100), tensor_parallel=16)
    op = trace.op("layer.attention")
    assert (op.heads, op.kv_heads, trace.op("layer.k_proj").n) == (2, 1, 128)


def test_vocabulary_is_padded_to_the_ranks() -> None:
    assert (
        build_trace("gpt2", Batch.prefill([4]), tensor_parallel=4).op("lm_head").n == 12_565
    )  # 50,257 / 4 = 12,564.25


@given(PAIRS)
def test_rows_depend_on_distinct_requests_not_on_tokens(pairs: list[tuple[int, int]]) -> None:
    once, often = (build_trace("llama-3-8b", Batch.from_pairs(pairs * times)) for times in (1, 40))
    assert len(once.ops) == len(often.ops)
    assert [len(op.segments) for op in once.ops] == [len(op.segments) for op in often.ops]
    assert max(len(op.segments) for op in often.ops) == len(set(pairs))


@pytest.mark.parametrize("name", ["llama-3-8b", "mixtral-8x7b"])
def test_merging_changes_rows_but_not_work(name: str) -> None:
    batch = Batch.decode(4, 100)
    apart, merged = build_trace(name, batch), build_trace(name, batch, merge_qkv=True, merge_gate_up=True)
    assert len(apart.ops) - len(merged.ops) == 3
    assert (apart.macs, apart.weight_bytes) == (merged.macs, merged.weight_bytes)
    assert apart.meta["parameter_bytes"] == merged.meta["parameter_bytes"]
    assert merged.op("layer.qkv_proj").n == 4096 + 2 * 1024


@pytest.mark.parametrize(("logits", "tokens"), [("last", 2), ("all", 30)])
def test_logits(logits: str, tokens: int) -> None:
    trace = build_trace("gpt2", Batch.prefill([10, 20]), logits=logits)
    assert trace.op("lm_head").tokens == tokens
    assert trace.tensors[trace.op("lm_head").outputs[0]].role == "output"


def test_no_logits_leave_the_final_norm_as_output() -> None:
    trace = build_trace("gpt2", Batch.prefill([10]), logits="none")
    assert trace.ops[-1].name == "final_norm"
    assert trace.tensors[trace.ops[-1].outputs[0]].role == "output"


def test_experts_touched_set_the_weight_traffic() -> None:
    trace = build_trace("mixtral-8x7b", Batch.decode(1, 10))
    assert trace.op("layer.experts_down_proj").weight_bytes == 2 * 14336 * 4096 * 2
    skewed = build_trace("mixtral-8x7b", Batch.decode(1, 10), moe=Routing.recorded([1, 0, 0, 1, 0, 0, 0, 0]))
    assert skewed.op("layer.experts_down_proj").segments == (Segment(1, 0, 2),)
    assert trace.meta["parameter_bytes"] == 2 * 46_702_792_704


def test_experts_dealt_over_ranks_with_all_to_all() -> None:
    trace = build_trace("qwen3-30b-a3b", Batch.decode(64, 10), expert_parallel=8)
    moved = [op for op in trace.ops if op.kind == "collective"]
    assert [op.name for op in moved] == ["layer.moe_dispatch", "layer.moe_return"]
    assert all(op.function == "all_to_all" and op.ranks == 8 and op.tokens == 64 * 8 for op in moved)
    assert trace.op("layer.experts_up_proj").segments == (Segment(32, 0, 16),)
    whole = build_trace("qwen3-30b-a3b", Batch.decode(64 * 8, 10))
    experts = 3 * 128 * 2048 * 768 * 48
    assert int(str(whole.meta["parameters"])) - int(str(trace.meta["parameters"])) == experts * 7 // 8


def test_experts_dealt_over_tensor_parallel_ranks() -> None:
    trace = build_trace("mixtral-8x7b", Batch.prefill([512]), tensor_parallel=4, expert_parallel=4)
    op = trace.op("layer.experts_up_proj")
    assert (op.n, op.segments) == (14336, (Segment(128, 0, 2),))
    assert trace.op("layer.moe_all_reduce").ranks == 4
    assert not [op for op in trace.ops if op.function == "all_to_all"]


def test_shared_expert_runs_on_all_tokens() -> None:
    trace = build_trace("deepseek-v3", Batch.prefill([100]))
    assert trace.op("layer.shared_up_proj").macs == 100 * 7168 * 2048
    assert trace.op("layer.moe_combine").width_in == 9 * 7168 + 8
    assert [(block.name, block.count) for block in trace.blocks[1:3]] == [("dense_layers", 3), ("layers", 58)]


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "llama-2-7b",
            {"tensor_parallel": 3},
            "tensor_parallel: got 3; legal for 32 attention heads: 1, 2, 4, 8, 16, 32",
        ),
        ("qwen2-7b", {"tensor_parallel": 7}, "tensor_parallel: got 7; legal for 4 KV heads: 1, 2, 4, or a multiple"),
        ("llama-2-7b", {"tensor_parallel": 0}, "tensor_parallel: got 0; legal: 1 or more"),
        ("llama-2-7b", {"expert_parallel": 2}, "expert_parallel: got 2; legal: 1, llama-2-7b has no experts"),
        ("mixtral-8x7b", {"expert_parallel": 3}, "expert_parallel: got 3; legal for 8 experts: 1, 2, 4, 8"),
        (
            "mixtral-8x7b",
            {"expert_parallel": 4, "tensor_parallel": 2},
            "expert_parallel: got 4; legal with tensor_parallel 2: 1 or 2",
        ),
        ("gpt2", {"logits": "first"}, "logits: got 'first'; known: all, last, none"),
        ("gpt2", {"mla": "absorb"}, "mla: got 'absorb'; did you mean 'absorbed'? known: absorbed, auto, naive"),
        (
            "mamba2-2.7b",
            {"tensor_parallel": 32},
            "tensor_parallel: got 32; legal for 80 state-space heads: 1, 2, 4, 5, ",
        ),
    ],
)
def test_refusals(name: str, options: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        build_trace(name, Batch.decode(2, 10), **options)  # type: ignore[arg-type]  # options of several types
    assert str(caught.value).startswith(text)


def test_building_imports_no_heavy_library() -> None:
    heavy = "numpy", "pandas", "pyarrow", "pydantic"
    code = (
        "import sys; from workloads.build import build_trace; from workloads.batch import Batch;"
        f"build_trace('mixtral-8x7b', Batch.decode(2, 10)); print([m for m in {heavy} if m in sys.modules])"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
