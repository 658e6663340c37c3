"""with_kv_eviction, with_kv_compression and with_active_neurons: hand-computed MACs and bytes, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.neurons import networks

HEADS, DIM, HIDDEN, FFN, LAYERS = 32, 128, 4096, 11008, 32
WIDTH = 2 * HEADS * DIM  # of the cache of a token and layer


@pytest.fixture(scope="module")
def llama() -> Trace:
    return build_trace("llama-2-7b", Batch.decode(2, [100, 3000]))


# ---------------------------------------------------------------- eviction


def seen(query: int, window: int, sinks: int) -> set[int]:
    """Keys that a query sees: the first ``sinks`` and the last ``window``, itself included."""
    return set(range(max(0, query - window + 1), query + 1)) | set(range(min(sinks, query + 1)))


@given(st.integers(1, 30), st.integers(0, 60), st.integers(1, 30), st.integers(0, 8))
def test_sinks_and_window_equal_an_explicit_count(new: int, context: int, window: int, sinks: int) -> None:
    op = Operator("a", "attention", 0, (Segment(new, context),), heads=2, kv_heads=2, qk_dim=4, v_dim=4, kv_width=16)
    (row,) = Trace("t", (op,)).with_kv_eviction(window, sinks=sinks).ops
    queries = [seen(query, window, sinks) for query in range(context, context + new)]
    assert row.macs == 2 * 8 * sum(map(len, queries))
    assert row.keys(row.segments[0]) == len(set().union(*queries))


def test_streaming_decode_by_hand(llama: Trace) -> None:
    trace = llama.with_kv_eviction(1020, sinks=4).check()
    op = trace.op("layer.attention")
    # the short request sees its 101 tokens, the long one 1024 of 3001
    assert op.macs == HEADS * (101 + 1024) * 2 * DIM
    assert op.kv_read_bytes == (100 + 1023) * WIDTH * 2
    assert op.kv_write_bytes == 2 * WIDTH * 2
    assert trace.meta["kv_cache_bytes"] == LAYERS * (101 + 1024) * WIDTH * 2
    assert trace.resident_bytes == llama.resident_bytes - LAYERS * (3001 - 1024) * WIDTH * 2
    (cache,) = [t for t in trace.tensors if t.role == "kv"]
    assert (cache.elements, cache.bytes) == ((100 + 1024) * WIDTH, (100 + 1024) * WIDTH * 2)
    assert trace.weight_bytes == llama.weight_bytes


def test_heavy_hitters_limit_the_cache_of_decoding_only(llama: Trace) -> None:
    trace = llama.with_kv_eviction(500, heavy=500).check()
    op = trace.op("layer.attention")
    assert op.segments == (Segment(1, 100), Segment(1, 999))
    assert op.macs == HEADS * (101 + 1000) * 2 * DIM
    assert trace.meta["kv_cache_bytes"] == LAYERS * (101 + 1000) * WIDTH * 2
    prompt = build_trace("llama-2-7b", Batch.prefill([3000]))
    assert prompt.with_kv_eviction(500, heavy=500).ops == prompt.ops
    assert prompt.with_kv_eviction(1000).macs < prompt.macs


def test_requests_that_lose_all_but_the_budget_are_one_segment() -> None:
    trace = build_trace("gpt2", Batch.decode(4, [10, 300, 400, 300])).with_kv_eviction(64, sinks=4, heavy=32)
    assert trace.op("layer.attention").segments == (Segment(1, 10), Segment(1, 99, 3))


def test_the_models_own_window_stays_where_it_is_narrower() -> None:
    trace = build_trace("mistral-7b", Batch.decode(1, 9000))
    assert [trace.with_kv_eviction(w).op("layer.attention").window for w in (100, 8000)] == [100, 4096]


@given(st.integers(1, 4000), st.integers(0, 64), st.integers(0, 500))
@settings(max_examples=15)
def test_eviction_never_costs_more(window: int, sinks: int, heavy: int) -> None:
    trace = build_trace("opt-125m", Batch.decode(3, [100, 3000, 700]))
    less = trace.with_kv_eviction(window, sinks=sinks, heavy=heavy).check()
    assert (less.macs, less.kv_read_bytes) <= (trace.macs, trace.kv_read_bytes)
    assert less.resident_bytes <= trace.resident_bytes
    again = less.with_kv_eviction(window, sinks=sinks, heavy=heavy)
    assert (again.ops, again.tensors) == (less.ops, less.tensors)


@pytest.mark.parametrize(
    ("model", "arguments", "text"),
    [
        ("gpt2", {"window": 0}, "kv_eviction.window: got 0; legal: at least 1"),
        ("gpt2", {"window": 5, "sinks": -1}, "kv_eviction.sinks: got -1; legal: at least 0"),
        (
            "gpt2",
            {"window": 5, "only": "lm_head", "except_": ()},
            "kv_eviction: got 'gpt2 prefill'; legal: a trace with an attention row that is named",
        ),
        (
            "mamba2-2.7b",
            {"window": 5},
            "kv_eviction: got 'mamba2-2.7b prefill'; legal: a trace with an attention row that is named",
        ),
        (
            "deepseek-v2",
            {"window": 5},
            "kv_eviction: got 'dense_layer.kv_b_proj'; expands the whole cache; legal: mla='absorbed'",
        ),
    ],
)
def test_refusals_of_eviction(model: str, arguments: dict[str, int], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        build_trace(model, Batch.prefill([8])).with_kv_eviction(**arguments)  # type: ignore[arg-type]  # of several types
    assert str(caught.value) == text


# ---------------------------------------------------------------- low rank


def test_low_rank_cache_by_hand(llama: Trace) -> None:
    trace = llama.with_kv_compression(rank_k=32, rank_v=64).check()
    op = trace.op("layer.attention")
    assert (op.qk_dim, op.v_dim, op.kv_width) == (32, 64, HEADS * 96)
    assert op.kv_read_bytes == 3100 * HEADS * 96 * 2
    assert op.macs == HEADS * (101 + 3001) * 96
    added = {name: trace.op(f"layer.attention.{name}_latent") for name in ("q", "k", "v", "out")}
    macs = {"q": DIM * 32, "k": DIM * 32, "v": DIM * 64, "out": DIM * 64}
    assert {name: row.macs for name, row in added.items()} == {name: 2 * HEADS * size for name, size in macs.items()}
    assert {name: row.weight_bytes for name, row in added.items()} == {n: HEADS * size * 2 for n, size in macs.items()}
    bases = LAYERS * HEADS * DIM * 96
    assert trace.meta["parameters"] == 6_738_415_616 + bases
    assert trace.meta["parameter_bytes"] == 2 * (6_738_415_616 + bases)
    assert trace.meta["kv_cache_bytes"] == LAYERS * 3102 * HEADS * 96 * 2
    assert trace.meta["kv_bytes_per_token"] == LAYERS * HEADS * 96 * 2


def test_grouped_heads_share_a_basis() -> None:
    trace = build_trace("llama-3-8b", Batch.decode(3, 500)).with_kv_compression(rank_k=64).check()
    q, k = trace.op("layer.attention.q_latent"), trace.op("layer.attention.k_latent")
    assert (q.segments, k.segments) == ((Segment(12, 0, 8),), (Segment(3, 0, 8),))  # 4 query heads on each of 8
    assert q.inputs[-1] == k.inputs[-1]
    assert q.macs == 3 * 32 * 128 * 64
    assert [op.name for op in trace.ops if op.name.endswith("_latent")] == [q.name, k.name]  # values stay whole


def test_full_rank_changes_nothing_but_the_note(llama: Trace) -> None:
    full = llama.with_kv_compression(rank_k=128, rank_v=128)
    assert (full.ops, full.tensors, full.blocks) == (llama.ops, llama.tensors, llama.blocks)
    assert full.resident_bytes == llama.resident_bytes


def test_fewer_bits_of_fewer_dimensions(llama: Trace) -> None:
    trace = llama.with_kv_compression("int4", group=32, rank_k=64, rank_v=64).check()
    elements = 3100 * HEADS * 128
    assert trace.op("layer.attention").kv_read_bytes == elements // 2 + elements // 32 * 2


@pytest.mark.parametrize(
    ("model", "arguments", "text"),
    [
        ("gpt2", {}, "kv_compression; legal: a format, or a rank of keys or values"),
        ("gpt2", {"rank_k": 65}, "kv_compression.rank_k: got 65; legal for layer.attention: 1 to 64"),
        (
            "deepseek-v2",
            {"rank_v": 8},
            "kv_compression: got 'dense_layer.attention_absorbed'; keeps latents already; "
            "legal: one key and value a KV head",
        ),
    ],
)
def test_refusals_of_compression(model: str, arguments: dict[str, int], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        build_trace(model, Batch.decode(1, 8)).with_kv_compression(**arguments)  # type: ignore[arg-type]  # ranks only
    assert str(caught.value) == text


# ---------------------------------------------------------------- active neurons


def one_request(model: str = "llama-2-7b") -> Trace:
    return build_trace(model, Batch.decode(1, 1000))


def test_one_token_runs_its_own_neurons() -> None:
    plain = one_request()
    trace = plain.with_active_neurons(0.125).check()
    active = FFN // 8
    up, middle, down = (trace.op(f"layer.{name}") for name in ("up_proj", "silu_mul", "down_proj"))
    assert (up.n, middle.width_in, middle.width_out, down.k) == (active, 2 * active, active, active)
    assert up.weight_bytes == down.weight_bytes == HIDDEN * active * 2
    assert up.effective_macs == up.macs == HIDDEN * active
    assert trace.macs == plain.macs - LAYERS * 3 * HIDDEN * (FFN - active)
    assert (trace.resident_bytes, trace.op("layer.o_proj")) == (plain.resident_bytes, plain.op("layer.o_proj"))


def test_several_tokens_run_what_any_of_them_activates() -> None:
    trace = build_trace("llama-2-7b", Batch.decode(3, 1000)).with_active_neurons(0.5).check()
    up = trace.op("layer.up_proj")
    assert up.n == FFN * 7 // 8  # 1 - 0.5^3
    assert up.act_sparsity == "unstructured@0.571429"  # each token wants 4/7 of them
    assert up.effective_macs == -(-3 * HIDDEN * up.n * 571429 // 1000000)
    measured = build_trace("llama-2-7b", Batch.decode(3, 1000)).with_active_neurons(0.5, union=0.5)
    assert (measured.op("layer.up_proj").n, measured.op("layer.up_proj").act_sparsity) == (FFN // 2, "dense")


def test_a_window_of_tokens_keeps_their_neurons_on_the_chip() -> None:
    trace = one_request().with_active_neurons(0.5, window=2).check()
    up, down = trace.op("layer.up_proj"), trace.op("layer.down_proj")
    fresh = FFN // 8  # a half is active, of which a quarter was not in the last two tokens
    assert up.cached_weights == down.cached_weights == HIDDEN * (FFN // 2 - fresh)
    assert up.weight_bytes == down.weight_bytes == HIDDEN * fresh * 2
    assert up.macs == HIDDEN * FFN // 2
    measured = one_request().with_active_neurons(0.5, fresh=0.0625)
    assert measured.op("layer.up_proj").weight_bytes == HIDDEN * FFN // 16 * 2


def test_a_predictor_costs_two_products_a_layer() -> None:
    plain = one_request()
    trace = plain.with_active_neurons(0.125, predictor=64).check()
    first, second = (trace.op(f"layer.gate_proj.predictor_{name}") for name in ("in", "out"))
    assert (first.k, first.n, second.k, second.n) == (HIDDEN, 64, 64, FFN)
    assert trace.meta["parameters"] == 6_738_415_616 + LAYERS * 64 * (HIDDEN + FFN)
    assert trace.resident_bytes == plain.resident_bytes + LAYERS * 64 * (HIDDEN + FFN) * 2
    names = [op.name for op in trace.ops]
    assert names.index(second.name) < names.index("layer.gate_proj")
    assert set(second.outputs) <= set(trace.op("layer.up_proj").inputs)


def test_merged_projections_and_biases_shrink_too() -> None:
    merged = build_trace("llama-2-7b", Batch.decode(1, 10), merge_gate_up=True).with_active_neurons(0.125).check()
    assert merged.op("layer.gate_up_proj").n == 2 * FFN // 8
    plain = build_trace("gpt2", Batch.decode(1, 10)).with_active_neurons(0.25).check()
    assert (plain.op("layer.up_proj").param_width, plain.op("layer.down_proj").param_width) == (768, 768)


def test_experts_take_the_mean_over_their_tokens() -> None:
    plain = build_trace("mixtral-8x7b", Batch.decode(1, 10))
    trace = plain.with_active_neurons(0.25).check()
    assert trace.op("layer.experts_up_proj").n == 14336 // 4
    assert trace.op("layer.experts_down_proj").weight_bytes == 2 * 14336 // 4 * 4096 * 2


def test_only_feed_forward_networks_are_found() -> None:
    trace = one_request()
    (found,) = networks(trace)
    assert [trace.ops[row].name for row in (*found.ups, found.middle, found.down)] == [
        "layer.gate_proj", "layer.up_proj", "layer.silu_mul", "layer.down_proj"]  # fmt: skip
    assert networks(one_request("mamba2-2.7b")) == ()


@pytest.mark.parametrize("model", ["llama-2-7b", "gpt2", "deepseek-v2", "qwen3-30b-a3b"])
def test_all_neurons_cost_what_the_network_costs(model: str) -> None:
    plain = build_trace(model, Batch.decode(2, 10))
    full = plain.with_active_neurons(1.0)
    assert (full.ops, full.tensors) == (plain.ops, plain.tensors)


@given(st.floats(0.01, 1), st.integers(1, 40), st.integers(0, 8))
@settings(max_examples=20)
def test_active_neurons_never_cost_more(density: float, batch: int, window: int) -> None:
    plain = build_trace("opt-125m", Batch.decode(batch, 10))
    trace = plain.with_active_neurons(density, window=window).check()
    assert trace.effective_macs <= trace.macs <= plain.macs
    assert trace.weight_bytes <= plain.weight_bytes
    wanted = sum(batch * op.k * op.n * density for op in plain.ops if op.name in ("layer.up_proj", "layer.down_proj"))
    got = sum(trace.op(name).effective_macs for name in ("layer.up_proj", "layer.down_proj"))
    assert wanted <= got <= wanted * (1 + 1e-5) + 2 * 768 * batch


@pytest.mark.parametrize(
    ("model", "arguments", "text"),
    [
        ("gpt2", {"density": 0.0}, "neurons.density: got 0.0; legal: above 0, at most 1"),
        ("gpt2", {"density": 0.5, "union": 0.4}, "neurons.union: got 0.4; legal: at least the density, 0.5"),
        ("gpt2", {"density": 0.5, "window": -1}, "neurons.window: got -1; legal: 0 or more"),
        (
            "mamba2-2.7b",
            {"density": 0.5},
            "neurons: got 'mamba2-2.7b decode'; legal: a trace with a feed-forward network that is named",
        ),
        (
            "mixtral-8x7b",
            {"density": 0.5, "window": 1},
            "neurons: got 'layer.experts_down_proj'; has experts; legal for them: no window, fresh share or predictor",
        ),
    ],
)
def test_refusals_of_neurons(model: str, arguments: dict[str, float], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        build_trace(model, Batch.decode(1, 8)).with_active_neurons(**arguments)  # type: ignore[arg-type]  # int, float
    assert str(caught.value) == text


def test_patterns_come_after_neurons() -> None:
    with pytest.raises(ChipsmithError) as caught:
        one_request().with_sparsity("2:4").with_active_neurons(0.5)
    assert str(caught.value) == (
        "neurons: got 'layer.gate_proj'; is sparse already; legal: neurons first, patterns after"
    )
    trace = one_request().with_active_neurons(0.125).with_sparsity("2:4").check()
    assert trace.op("layer.up_proj").effective_macs == HIDDEN * FFN // 16
    kept = one_request().with_active_neurons(0.5, window=2).with_sparsity("2:4").check()
    fresh = FFN // 8  # a quarter of the half that is active is read, compressed: a half and an eighth of a half
    assert kept.op("layer.up_proj").weight_bytes == HIDDEN * fresh * 2 * 9 // 16
