"""with_sub_batches, with_token_blocks, with_placement: what is conserved, who goes where, exact refusals."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.decoder_layers import LayerShape, decode_layers
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.sub_batches import dealt_experts, dealt_requests, step_pieces

CONTEXTS = [100, 700, 100, 3, 40, 900, 5]
MODELS = ["gpt2", "llama-2-7b", "mixtral-8x7b", "mamba2-2.7b", "falcon-h1-0.5b", "deepseek-v2", "gemma-2-2b"]


def decode(model: str) -> Trace:
    return build_trace(model, Batch.decode(len(CONTEXTS), CONTEXTS))


def layer(contexts: list[int], channels: list[int] | None = None, count: int = 3) -> Trace:
    return decode_layers("layer", LayerShape(512, 4, 2, count), contexts, channels or [])


# ---------------------------------------------------------------- what is conserved


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("model", MODELS)
def test_work_and_cache_are_divided_and_weights_read_again(model: str, parts: int) -> None:
    whole = decode(model)
    split = whole.with_sub_batches(parts).check()
    assert split.macs == whole.macs
    assert split.kv_read_bytes == whole.kv_read_bytes
    assert split.resident_bytes == whole.resident_bytes
    assert len(split.ops) == parts * len(whole.ops)
    assert [block.count for block in split.blocks] == [block.count for block in whole.blocks]
    for row, op in enumerate(whole.ops):
        mine = split_rows(split, op)
        assert sum(part.tokens for part in mine) == op.tokens, row
        assert sum(part.kv_write_bytes for part in mine) == op.kv_write_bytes
        assert sum(part.input_bytes for part in mine) >= op.input_bytes
        if op.kind != "gather" and not op.per_segment_weights:
            assert sum(part.weight_bytes for part in mine) == parts * op.weight_bytes


def split_rows(split: Trace, op: Operator) -> list[Operator]:
    prefix, dot, rest = op.name.partition(".")
    form = f"{prefix}.sub{{}}.{rest}" if dot else f"sub{{}}.{op.name}"
    names = {form.format(part) for part in range(1, 4)}
    return [row for row in split.ops if row.name in names]


def test_parts_depend_on_nothing_of_each_other() -> None:
    split = layer(CONTEXTS).with_sub_batches(2)
    part_of = ["sub1" if ".sub1." in op.name else "sub2" for op in split.ops]
    for row, op in enumerate(split.ops):
        sources = [split.tensors[t].producer for t in op.inputs]
        assert {part_of[source] for source in sources if source >= 0} <= {part_of[row]}
    (block,) = split.blocks
    assert len(block.carried) == 2 and block.count == 3


def test_parts_take_turns_at_attention() -> None:
    split = layer(CONTEXTS).with_sub_batches(2)
    assert [op.name.removeprefix("layer.") for op in split.ops[:8]] == [
        "sub1.attn_norm", "sub1.qkv_proj", "sub2.attn_norm", "sub2.qkv_proj", "sub1.attention", "sub2.attention",
        "sub1.o_proj", "sub1.attn_add",
    ]  # fmt: skip


def test_a_mixed_step_keeps_the_new_tokens_of_each_request() -> None:
    whole = build_trace("gpt2", Batch.from_pairs([(1, 50), (64, 0), (1, 30), (16, 100)]))
    split = whole.with_sub_batches(2).check()
    assert split.macs == whole.macs
    assert [split.op(f"layer.sub{part}.attention").tokens for part in (1, 2)] == [65, 17]


def test_one_part_is_the_step_itself() -> None:
    whole = decode("gpt2")
    assert whole.with_sub_batches(1) is whole


# ---------------------------------------------------------------- who goes where


def test_lengths_are_dealt_there_and_back() -> None:
    first, second = dealt_requests([Segment(1, c) for c in (10, 20, 30, 40, 50)], 2)
    assert [s.context for s in first] == [50, 20, 10]
    assert [s.context for s in second] == [40, 30]


def test_halves_of_every_channel_take_the_odd_request_in_turn() -> None:
    requests = [Segment(1, 10 * channel + i, placement=channel) for channel in range(4) for i in range(3)]
    first, second = dealt_requests(requests, 2)
    assert [s.context for s in first] == [0, 1, 10, 20, 21, 30]
    assert [s.context for s in second] == [2, 11, 12, 22, 31, 32]


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 5)), min_size=2, max_size=60), st.integers(2, 4))
def test_placed_requests_are_halved_in_every_channel(requests: list[tuple[int, int]], parts: int) -> None:
    found = dealt_requests([Segment(1, context, placement=channel) for context, channel in requests], parts)
    pieces = [Counter(s.placement for s in part for _ in range(s.multiplicity)) for part in found]
    for channel, size in Counter(channel for _, channel in requests).items():
        shares = [count[channel] for count in pieces]
        assert sum(shares) == size and max(shares) - min(shares) <= 1
    sizes = [sum(count.values()) for count in pieces]
    assert sum(sizes) == len(requests) and max(sizes) - min(sizes) <= 1


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 5)), min_size=1, max_size=20),
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
)
def test_tokens_of_experts_are_divided_in_proportion(experts: list[tuple[int, int]], shares: list[int]) -> None:
    segments = [Segment(tokens, multiplicity=count) for tokens, count in experts]
    total = sum(tokens * count for tokens, count in experts)
    found = dealt_experts(segments, shares)
    given_tokens = [sum(s.new_tokens * s.multiplicity for s in part) for part in found]
    assert sum(given_tokens) == total
    for mine, share in zip(given_tokens, shares, strict=True):
        assert abs(mine - total * share / sum(shares)) < len(shares)


def test_heads_with_own_weights_get_the_tokens_of_their_part() -> None:
    first, second = dealt_experts([Segment(7, multiplicity=16)], [4, 3])
    assert (first, second) == ((Segment(4, multiplicity=16),), (Segment(3, multiplicity=16),))


# ---------------------------------------------------------------- stages


def test_stages_hold_what_the_simulator_runs_in_each() -> None:
    split = layer(CONTEXTS).with_sub_batches(2, stages=True).check()
    assert [(block.name, block.count) for block in split.blocks] == [
        ("stages A-B", 1), ("stages C-D", 2), ("stages E-F", 1),
    ]  # fmt: skip
    short = {"qkv_proj": "Q", "attention": "M", "o_proj": "P", "down_proj": "F"}
    found: dict[str, str] = {}
    for op in split.ops:
        stage, _, part, name = op.name.split(".")
        if name in short:
            found[stage] = found.get(stage, "") + short[name] + part[-1]
    assert found == {"A": "Q1", "B": "Q2M1", "C": "P1F1Q1M2", "D": "P2F2Q2M1", "E": "P1F1M2", "F": "P2F2"}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_stages_conserve_the_step(count: int) -> None:
    whole = layer(CONTEXTS, count=count)
    split = whole.with_sub_batches(2, stages=True).check()
    assert (split.macs, split.kv_read_bytes) == (whole.macs, whole.kv_read_bytes)
    assert split.weight_bytes == 2 * whole.weight_bytes
    assert split.resident_bytes == whole.resident_bytes


def test_a_stage_starts_behind_all_rows_of_the_one_before() -> None:
    split = layer(CONTEXTS, count=2).with_sub_batches(2, stages=True)
    before: dict[int, set[int]] = {}
    for row, op in enumerate(split.ops):
        sources = {split.tensors[t].producer for t in op.inputs} - {-1}
        before[row] = sources.union(*(before[source] for source in sources)) if sources else set()
    for row, op in enumerate(split.ops):
        earlier = {other for other, own in enumerate(split.ops) if own.name[0] < op.name[0]}
        assert earlier <= before[row], op.name


# ---------------------------------------------------------------- token blocks, placement


@pytest.mark.parametrize("model", ["gpt2", "mixtral-8x7b", "deepseek-v2"])
def test_token_blocks_read_the_weights_once(model: str) -> None:
    whole = decode(model)
    blocks = whole.with_token_blocks(3).check()
    assert (blocks.macs, blocks.weight_bytes) == (whole.macs, whole.weight_bytes)
    assert blocks.resident_bytes == whole.resident_bytes


def test_a_product_becomes_a_row_a_block() -> None:
    blocks = layer(CONTEXTS).with_token_blocks(3).check()
    rows = [op for op in blocks.ops if ".qkv_proj." in op.name]
    assert [(op.tokens, op.weight_bytes) for op in rows] == [(3, 512 * 768 * 2 + 768 * 2), (3, 0), (1, 0)]
    assert layer(CONTEXTS).with_token_blocks(7) == layer(CONTEXTS)


def test_requests_go_to_their_channels() -> None:
    placed = layer([30, 30, 10, 30], [2, 2, 0, 2]).check()
    expected = (Segment(1, 30, 2, 2), Segment(1, 10, 1, 0), Segment(1, 30, 1, 2))
    assert placed.op("layer.attention").segments == expected


# ---------------------------------------------------------------- refusals


def refusal(trace: Trace, parts: int, stages: bool = False) -> str:
    with pytest.raises(ChipsmithError) as caught:
        trace.with_sub_batches(parts, stages=stages)
    return str(caught.value)


def test_what_cannot_be_split_is_refused() -> None:
    step = layer([10, 20])
    gemm = Trace("gemm", (replace(step.ops[1], inputs=(), outputs=(), block=0),))
    assert refusal(step, 0) == "sub_batches: got 0; legal: at least 1"
    assert refusal(step, 3) == "sub_batches: got 3; legal: at most 2, the requests of the step"
    assert refusal(gemm, 2) == "sub_batches: got 'gemm'; legal: a step whose requests keep a cache or a state"
    assert refusal(step.with_sub_batches(2), 2) == "sub_batches: got 'layer'; is split already"
    assert refusal(layer([10, 20, 30]), 3, True) == "sub_batches: got 3; legal: 2, stages are those of two sub-batches"
    assert refusal(decode("gemma-2-2b"), 2, True) == (
        "sub_batches: got 'gemma-2-2b decode'; legal: one row that keeps a cache in one block of layers, found 2"
    )


def test_other_requests_cannot_be_placed() -> None:
    with pytest.raises(ChipsmithError) as caught:
        layer([10, 20]).with_placement([(1, 10, 0), (1, 21, 1)])
    text = "placement: got 2; legal: the 2 requests of layer.attention, each with its new tokens and its context"
    assert str(caught.value) == text
    with pytest.raises(ChipsmithError, match=r"^token_block: got 0; legal: at least 1$"):
        layer([10]).with_token_blocks(0)


def test_pieces_of_a_step_without_attention() -> None:
    assert step_pieces(decode("gpt2")) == 7
    assert step_pieces(Trace("none", (replace(layer([1]).ops[1], inputs=(), outputs=()),))) == 0
