"""with_speculation and with_early_exit: equality with built traces, hand-computed costs, refusals."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.errors import ChipsmithError
from workloads.routing import Routing
from workloads.trace import Block, Operator, Segment, Trace
from workloads.transforms.early_exit import request_depths
from workloads.transforms.speculation import speculated_tokens
from workloads.transforms.stages import survivors

CONTEXTS = [100, 700, 100]
MODELS = ["gpt2", "llama-2-7b", "mixtral-8x7b", "mamba2-2.7b", "deepseek-v2", "qwen3-30b-a3b", "mistral-7b"]


def decode(model: str) -> Trace:
    return build_trace(model, Batch.decode(3, CONTEXTS), mla="absorbed")


# ---------------------------------------------------------------- speculation


def test_expected_tokens_of_a_verifying_step() -> None:
    assert speculated_tokens(4, 0.5) == 1.9375  # 1 + 1/2 + 1/4 + 1/8 + 1/16
    assert speculated_tokens(3, 0.0) == 1
    assert speculated_tokens(3, 1.0) == 4
    assert speculated_tokens(5, 0.8) == pytest.approx((1 - 0.8**6) / (1 - 0.8), rel=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_verifying_equals_a_step_built_with_more_tokens(model: str) -> None:
    step = decode(model).with_speculation(4, 0.75).check()
    built = build_trace(model, Batch.from_pairs((5, c) for c in CONTEXTS), logits="all", mla="absorbed")
    assert step.ops == tuple(replace(op, phase="decode") for op in built.ops)
    assert (step.tensors, step.blocks) == (built.tensors, built.blocks)
    differ = {key for key in built.meta if step.meta[key] != built.meta[key]}
    assert differ == {"phase", "tokens"}
    assert step.meta["processed_tokens"] == built.meta["tokens"] == 15
    assert step.expected_tokens == 3 * speculated_tokens(4, 0.75)
    assert step.meta["tokens"] == int(step.expected_tokens) == 9


@pytest.mark.parametrize("routing", [Routing.uniform(3), Routing.zipf(1.25), Routing.zipf(0.5, seed=4)])
def test_experts_are_routed_anew_as_the_trace_was(routing: Routing) -> None:
    step = build_trace("mixtral-8x7b", Batch.decode(3, 10), moe=routing).with_speculation(2, 0.5)
    built = build_trace("mixtral-8x7b", Batch.uniform(3, 3, 10), moe=routing)
    assert step.op("layer.experts_up_proj").segments == built.op("layer.experts_up_proj").segments


def test_a_draft_runs_k_steps_on_a_growing_cache() -> None:
    model, draft = decode("opt-1.3b"), decode("opt-125m")
    joined = model.with_speculation(2, 0.5, draft).check()
    verify = model.with_speculation(2, 0.5)
    assert [b.name for b in joined.blocks] == [
        f"{part}{name}" for part in ("draft1.", "draft2.", "") for name in ("embed", "layers", "head")]  # fmt: skip
    assert joined.op("draft1.layer.attention").segments == draft.op("layer.attention").segments
    assert joined.op("draft2.layer.attention").segments == (Segment(1, 101, 2), Segment(1, 701, 1))
    assert joined.macs == verify.macs + 2 * draft.macs + 12 * 3 * 12 * 2 * 64  # 12 layers, a key more a request
    token = 12 * 2 * 768 * 2
    assert joined.resident_bytes == verify.resident_bytes + draft.resident_bytes + 3 * token
    assert joined.meta["parameters"] == int(str(model.meta["parameters"])) + int(str(draft.meta["parameters"]))
    for later, earlier in (("draft2.", "draft1."), ("", "draft2.")):
        logits = joined.op(f"{earlier}lm_head").outputs
        assert set(logits) <= set(joined.op(f"{later}embed_tokens").inputs)
    weights = [t.name for t in joined.tensors if t.role == "weight" and t.name.endswith("layer.q_proj.weight")]
    assert weights == ["draft1.layer.q_proj.weight", "layer.q_proj.weight"]


def test_layers_of_the_model_itself_draft_without_weights_of_their_own() -> None:
    model = decode("llama-2-7b")
    step = model.with_speculation(3, 0.5, model.with_early_exit(8), shared=True).check()
    assert step.resident_bytes == model.with_speculation(3, 0.5).resident_bytes
    assert [b.count for b in step.blocks] == [1, 8, 1] * 3 + [1, 32, 1]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: decode("gpt2").with_speculation(0, 0.5), "speculation.draft_tokens: got 0; legal: at least 1"),
        (lambda: decode("gpt2").with_speculation(2, 1.5), "speculation.acceptance: got 1.5; legal: 0 to 1"),
        (
            lambda: build_trace("gpt2", Batch.prefill([5])).with_speculation(2, 0.5),
            "speculation: got 'gpt2 prefill'; legal: a decode step, one new token a request",
        ),
        (
            lambda: decode("gpt2").with_speculation(2, 0.5, build_trace("gpt2", Batch.decode(2, 5))),
            "speculation.draft: got 2; legal: 3 requests, as the model decodes",
        ),
        (
            lambda: decode("gpt2").with_speculation(2, 0.5).with_speculation(2, 0.5),
            "speculation: got 'gpt2 decode'; speculates already",
        ),
        (
            lambda: build_trace(
                "mixtral-8x7b", Batch.decode(1, 5), moe=Routing.recorded([1] * 8)
            ).with_speculation(2, 0.5),
            "moe: got 'recorded(8 experts)'; legal here: uniform or zipf routing; "
            "or build the step with its own batch",
        ),
        (
            lambda: build_trace(
                "mixtral-8x7b", Batch.decode(2, 5), expert_parallel=2
            ).with_speculation(2, 0.5),
            "expert_parallel: got 2; legal here: 1",
        ),
    ],
)  # fmt: skip
def test_refusals_of_speculation(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ChipsmithError) as caught:
        make()
    assert str(caught.value) == text


# ---------------------------------------------------------------- early exit


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layers", [1, 2, 7])
def test_leaving_after_n_layers_equals_a_model_of_n_layers(model: str, layers: int) -> None:
    config = load_config(model)
    depth = "n_layer" if model == "gpt2" else "num_hidden_layers"
    batch = Batch.decode(3, CONTEXTS)
    whole = build_trace(config, batch)
    short, built = whole.with_early_exit(layers).check(), build_trace(config.with_fields(**{depth: layers}), batch)
    assert (short.ops, short.tensors, short.blocks) == (built.ops, built.tensors, built.blocks)
    assert short.resident_bytes == whole.resident_bytes


def test_leaving_after_the_last_layer_changes_nothing_but_the_note() -> None:
    whole = decode("deepseek-v2")
    assert whole.with_early_exit(60).ops == whole.ops
    assert whole.with_early_exit(60).meta["transforms"] == {"early_exit": [{"layers": 60}]}
    prompt = build_trace("gpt2", Batch.prefill([40]))
    assert prompt.with_early_exit(6).macs < prompt.macs


def test_half_of_the_requests_leave_early() -> None:
    whole = build_trace("llama-2-7b", Batch.decode(4, 1000))
    trace = whole.with_early_exit({8: 0.5, 32: 0.5}).check()
    assert [(b.name, b.count) for b in trace.blocks] == [
        ("embed", 1), ("layers", 8), ("exit8", 1), ("after8.layers", 24), ("head", 1)]  # fmt: skip
    layer = sum(op.macs for op in whole.ops if op.name.startswith("layer."))
    assert trace.macs == 8 * layer + 24 * layer // 2 + whole.op("lm_head").macs
    assert trace.op("after8.layer.attention").segments == (Segment(1, 1000, 2),)
    copy = trace.op("exit8.copy")
    assert (copy.input_bytes, copy.output_bytes, copy.macs) == (2 * 4096 * 2, 2 * 4096 * 2, 0)
    assert trace.op("final_norm").tokens == 4
    assert trace.op("final_norm").inputs[:2] == (
        *trace.op("after8.layer.mlp_add").outputs,
        *trace.op("layer.mlp_add").outputs,
    )
    assert trace.resident_bytes == whole.resident_bytes
    assert trace.meta["tokens"] == 4


def test_a_check_runs_the_head_of_all_that_came_so_far() -> None:
    whole = build_trace("llama-2-7b", Batch.decode(4, 1000))
    trace = whole.with_early_exit({8: 0.25, 16: 0.25, 32: 0.5}, check=True).check()
    heads = {op.name: op.tokens for op in trace.ops if op.name.endswith("lm_head")}
    assert heads == {"exit8.lm_head": 4, "exit16.lm_head": 3, "lm_head": 2}
    weights = {
        t for op in trace.ops if op.name.endswith("lm_head") for t in op.inputs if trace.tensors[t].role == "weight"
    }
    assert len(weights) == 1


@pytest.mark.parametrize(
    ("shares", "requests", "depths"),
    [
        ({8: 0.5, 32: 0.5}, 1, (20,)),
        ({8: 0.5, 32: 0.5}, 2, (8, 32)),
        ({8: 0.5, 32: 0.5}, 3, (8, 20, 32)),
        ({8: 0.25, 32: 0.75}, 2, (20, 32)),
        ({10: 0.1, 20: 0.2, 30: 0.7}, 10, (10, 20, 20, 30, 30, 30, 30, 30, 30, 30)),
        ({1: 0.5, 2: 0.5}, 1, (2,)),
    ],
)
def test_depths_of_the_requests(shares: dict[int, float], requests: int, depths: tuple[int, ...]) -> None:
    assert request_depths(shares, requests, list(range(1, 33))) == depths


@given(st.dictionaries(st.integers(1, 24), st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 30))
def test_depths_sum_to_the_mean_and_stay_in_range(parts: dict[int, int], requests: int) -> None:
    total = sum(parts.values())
    depths = request_depths({layer: part / total for layer, part in parts.items()}, requests, list(range(1, 25)))
    mean = sum(layer * part for layer, part in parts.items()) / total
    assert len(depths) == requests
    assert abs(sum(depths) - mean * requests) <= 0.5 + 1e-3 * requests
    assert min(parts) <= min(depths) and max(depths) <= max(parts)


@given(st.dictionaries(st.integers(1, 24), st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 9), st.booleans())
def test_no_distribution_runs_more_layers_than_there_are(parts: dict[int, int], requests: int, check: bool) -> None:
    config = load_config("gpt2").with_fields(n_layer=24)
    whole = build_trace(config, Batch.decode(requests, [10 * (r % 3 + 1) for r in range(requests)]))
    total = sum(parts.values())
    trace = whole.with_early_exit({layer: part / total for layer, part in parts.items()}, check=check).check()
    heads = sum(op.macs for op in trace.ops if op.name.endswith("lm_head"))
    assert trace.macs - heads <= whole.macs - whole.op("lm_head").macs
    if not check:
        assert heads == whole.op("lm_head").macs


def test_every_group_of_requests_loses_its_share() -> None:
    groups = (Segment(1, 10, 4), Segment(1, 20, 2), Segment(1, 30, 1))
    assert survivors(groups, 7) == groups
    assert survivors(groups, 4) == (Segment(1, 10, 2), Segment(1, 20, 1), Segment(1, 30, 1))
    assert survivors(groups, 1) == (Segment(1, 10, 1),)


def test_experts_and_scans_follow_those_who_stay() -> None:
    trace = build_trace("mixtral-8x7b", Batch.decode(4, 100)).with_early_exit({8: 0.5, 32: 0.5}).check()
    built = build_trace("mixtral-8x7b", Batch.decode(2, 100))
    name = "layer.experts_up_proj"
    assert trace.op(f"after8.{name}").segments == built.op(name).segments
    state = build_trace("mamba2-2.7b", Batch.decode(4, 100)).with_early_exit({8: 0.5, 64: 0.5}).check()
    assert state.op("after8.layer.ssd").kv_read_bytes * 2 == state.op("layer.ssd").kv_read_bytes


def odd(*blocks: Block) -> Trace:
    op = Operator("a", "attention", 0, (Segment(1, 9),), heads=2, kv_heads=2, qk_dim=4, v_dim=4, kv_width=16)
    return Trace("odd", tuple(replace(op, name=b.name, block=i) for i, b in enumerate(blocks)), (), blocks)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: decode("gpt2").with_early_exit(0), "early_exit.layers: got 0; legal: 1 to 12"),
        (lambda: decode("gpt2").with_early_exit(13), "early_exit.layers: got 13; legal: 1 to 12"),
        (
            lambda: decode("gpt2").with_early_exit({6: 0.5}),
            "early_exit.layers: got {6: 0.5}; legal: shares that sum to 1, not 0.5",
        ),
        (
            lambda: decode("gpt2").with_early_exit({6: 0.0, 12: 1.0}),
            "early_exit.layers[6]: got 0.0; legal: a share above 0, at most 1",
        ),
        (
            lambda: decode("gpt2").with_early_exit(6, check=True),
            "early_exit.check: got True; goes with a distribution: at one depth nothing is decided",
        ),
        (
            lambda: build_trace("gpt2", Batch.prefill([5])).with_early_exit({6: 0.5, 12: 0.5}),
            "early_exit: got 'gpt2 prefill'; legal: a decode step, one new token a request",
        ),
        (
            lambda: odd(Block("one", 4), Block("two", 4)).with_early_exit(2),
            "early_exit: got 'one'; reads 0 activations of other blocks (); legal: one, the residual stream",
        ),
        (
            lambda: Trace("none", (Operator("g", "gemm", 0, (Segment(1),), k=1, n=1),)).with_early_exit(1),
            "early_exit: got 'none'; legal: layers with a cache or a state, block after block",
        ),
    ],
)  # fmt: skip
def test_refusals_of_early_exit(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ChipsmithError) as caught:
        make()
    assert str(caught.value) == text
