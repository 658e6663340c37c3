"""Properties of rows, the rules of a legal trace, frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import DERIVED, Block, Operator, Segment, Tensor, Trace

LENGTHS = st.integers(1, 40)


def explicit_pairs(segment: Segment, window: int, causal: bool) -> set[tuple[int, int]]:
    """Every (query, key) position pair that attention looks at."""
    total = segment.context + segment.new_tokens
    pairs = set()
    for query in range(segment.context, total):
        last = query if causal else total - 1
        first = max(0, last - window + 1) if window else 0
        pairs |= {(query, key) for key in range(first, last + 1)}
    return pairs


@given(LENGTHS, st.integers(0, 40), st.integers(0, 60), st.booleans())
def test_visible_pairs_equal_an_explicit_count(new: int, context: int, window: int, causal: bool) -> None:
    segment = Segment(new, context)
    assert segment.visible_pairs(window, causal) == len(explicit_pairs(segment, window, causal))


@given(LENGTHS, st.integers(0, 40), st.integers(0, 60))
def test_keys_read_equal_an_explicit_count(new: int, context: int, window: int) -> None:
    segment = Segment(new, context)
    assert segment.keys_read(window) == len({key for _, key in explicit_pairs(segment, window, causal=True)})


def test_scan_and_expert_rows_by_hand() -> None:
    scan = Operator("s", "scan", 0, (Segment(3, 0, 2),), heads=2, qk_dim=4, v_dim=8, kv_width=64, width_in=10)
    assert (scan.macs, scan.kv_read_bytes, scan.kv_write_bytes) == (2 * 6 * 2 * 4 * 8, 2 * 64 * 2, 2 * 64 * 2)
    experts = Operator("e", "gemm", 0, (Segment(5, 0, 2), Segment(1, 0, 3)), k=8, n=4, per_segment_weights=True)
    assert (experts.tokens, experts.pieces, experts.macs) == (13, 5, 13 * 32)
    assert experts.weight_bytes == 5 * 32 * 2
    product = Operator("p", "gemm", 0, (Segment(5),), k=8, n=4, weight_is_param=False)
    assert (product.weight_bytes, product.input_bytes) == (0, (5 * 8 + 8 * 4) * 2)


def small() -> Trace:
    return build_trace("gpt2", Batch.from_pairs([(3, 0), (1, 9)]))


def changed_op(row: int, **fields: object) -> Trace:
    trace = small()
    ops = list(trace.ops)
    ops[row] = replace(ops[row], **fields)  # type: ignore[arg-type]  # fields of several types
    return replace(trace, ops=tuple(ops))


def changed_tensor(tensor: str, /, **fields: object) -> Trace:
    trace = small()
    tensors = [
        replace(t, **fields) if t.name == tensor else t  # type: ignore[arg-type]  # fields of several types
        for t in trace.tensors
    ]
    return replace(trace, tensors=tuple(tensors))


def tensor_id(name: str) -> int:
    return [tensor.name for tensor in small().tensors].index(name)


def changed_block(index: int, **fields: object) -> Trace:
    trace = small()
    blocks = list(trace.blocks)
    blocks[index] = replace(blocks[index], **fields)  # type: ignore[arg-type]  # fields of several types
    return replace(trace, blocks=tuple(blocks))


def swapped(trace: Trace, one: int, other: int) -> Trace:
    ops = list(trace.ops)
    ops[one], ops[other] = ops[other], ops[one]
    return replace(trace, ops=tuple(ops))


# Rows of gpt2: 0 embed, 1 attn_norm, 2 q, 3 k, 4 v, 5 attention, 6 o, ... 12 mlp_add, 13 final_norm, 14 lm_head.
REFUSED = [
    (lambda: Trace("t", ()), "trace.ops: got 'nothing'; legal: at least one operator"),
    (lambda: changed_op(2, kind="gem"), "ops[2] layer.q_proj.kind: got 'gem'; did you mean 'gemm'? known: "),
    (lambda: changed_op(2, phase="decoding"), "ops[2] layer.q_proj.phase: got 'decoding'; did you mean 'decode'? "),
    (lambda: changed_op(2, act="fp61"), "ops[2] layer.q_proj.act: got 'fp61'; did you mean "),
    (lambda: changed_op(2, k=0), "ops[2] layer.q_proj.k: got 0; legal for gemm: at least 1"),
    (lambda: changed_op(2, n=-5), "ops[2] layer.q_proj.n: got -5; legal for gemm: at least 1"),
    (lambda: changed_op(2, window=-1), "ops[2] layer.q_proj.window: got -1; legal for gemm: at least 0"),
    (lambda: changed_op(2, k=768.0), "ops[2] layer.q_proj.k: got 768.0; legal for gemm: at least 1"),
    (lambda: changed_op(5, kv_heads=5), "ops[5] layer.attention.kv_heads: got 5; legal: a divisor of 12 heads"),
    (lambda: changed_op(2, segments=()), "ops[2] layer.q_proj.segments: got 'nothing'; legal: at least one segment"),
    (
        lambda: changed_op(2, segments=(Segment(4), Segment(0))),
        "ops[2] layer.q_proj.segments[1].new_tokens: got 0; legal: at least 1",
    ),
    (lambda: changed_op(2, sparsity="2-4"), "ops[2] layer.q_proj.sparsity: got '2-4'; legal: dense, N:M, block:RxC"),
    (lambda: changed_op(1, function=""), "ops[1] layer.attn_norm.function: got ''; legal: a name, for example "),
    (lambda: changed_op(2, name="layer.k_proj"), "operator name: got 'layer.k_proj'; legal: unique names, this one "),
    (lambda: changed_op(2, block=3), "ops[2] layer.q_proj.block: got 3; legal: 0 to 2"),
    (lambda: changed_op(2, block=0), "ops[2] layer.q_proj.block: got 0; legal: 1 or later, rows stand block by block"),
    (lambda: changed_block(1, count=0), "blocks[1] layers.count: got 0; legal: at least 1"),
    (lambda: replace(small(), blocks=(*small().blocks, Block("tail"))), "blocks[3] tail; holds no operator"),
    (lambda: changed_op(2, inputs=(99,)), "ops[2] layer.q_proj.inputs: got 99; legal: tensor ids 0 to "),
    (lambda: changed_op(2, outputs=(-1,)), "ops[2] layer.q_proj.outputs: got -1; legal: tensor ids 0 to "),
    (lambda: swapped(small(), 1, 2), "ops[1] layer.q_proj.inputs: got 'layer.attn_norm'; is written later, by row 1"),
    (
        lambda: changed_op(2, segments=(Segment(5),)),
        "ops[2] layer.q_proj.outputs: got 3072; legal: 3840 elements, what its 5 tokens write",
    ),
    (
        lambda: changed_op(1, width_in=800),
        "ops[1] layer.attn_norm.inputs: got 3072; legal: at least 3200 elements, what its 4 tokens read",
    ),
    (lambda: changed_tensor("layer.q_proj", role="act"), "tensors[8] layer.q_proj.role: got 'act'; "),
    (lambda: changed_tensor("layer.q_proj", dtype="f16"), "tensors[8] layer.q_proj.dtype: got 'f16'; "),
    (lambda: changed_tensor("layer.q_proj", elements=-1), "tensors[8] layer.q_proj.elements: got -1; legal: 0 or more"),
    (
        lambda: changed_tensor("layer.q_proj", bytes=6143),
        "tensors[8] layer.q_proj.bytes: got 6143; legal: at least 6144, what its elements take",
    ),
    (lambda: changed_tensor("layer.q_proj", producer=15), "tensors[8] layer.q_proj.producer: got 15; legal: -1 to 14"),
    (lambda: changed_tensor("layer.q_proj", producer=1), "tensors[8] layer.q_proj.producer: got 1; the operators "),
    (lambda: changed_tensor("layer.q_proj", last_use=9), "tensors[8] layer.q_proj.last_use: got 9; the operators "),
    (lambda: changed_tensor("layer.q_proj", name="layer.k_proj"), "tensor name: got 'layer.k_proj'; legal: unique "),
    (lambda: changed_block(1, carried=((99, 0),)), "blocks[1] layers.carried: got (99, 0); legal: tensor ids 0 to "),
    (lambda: changed_block(1, carried=((3, 3),)), "blocks[1] layers.carried: got 'embed_tokens'; is not written in "),
    (lambda: changed_block(1, carried=((8, 0),)), "blocks[1] layers.carried: got 'token_ids'; is not read in this "),
    (lambda: changed_block(1, carried=((8, 8),)), "blocks[1] layers.carried: got 'layer.q_proj'; must come from "),
    (
        lambda: changed_block(1, carried=((tensor_id("layer.up_proj"), 3),)),
        "blocks[1] layers.carried: got 'layer.up_proj'; has 12288 fp16, embed_tokens 3072 fp16",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "text"), REFUSED, ids=range(len(REFUSED)))
def test_illegal_traces_are_refused_with_row_and_reason(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ChipsmithError) as caught:
        make().check()
    assert str(caught.value).startswith(text)


def test_counts_beyond_64_bits_are_refused() -> None:
    huge = Operator("huge", "gemm", 0, (Segment(1 << 30),), k=1 << 20, n=1 << 20)
    with pytest.raises(ChipsmithError) as caught:
        Trace("t", (huge,)).check()
    text = f"ops[0] huge.macs: got {1 << 70}; legal: at most 2^62, what 64-bit kernels hold"
    assert str(caught.value) == text
    edge = replace(huge, k=1 << 16, n=1 << 16)
    assert Trace("t", (edge,)).check().macs == 1 << 62


def test_a_tensor_has_one_writer() -> None:
    step = Operator("a", "elementwise", 0, (Segment(1),), function="add", width_in=2, width_out=1, outputs=(0,))
    tensor = Tensor("x", "activation", 1, "fp16", 2, producer=0)
    with pytest.raises(ChipsmithError) as caught:
        Trace("t", (step, replace(step, name="b")), (tensor,)).check()
    assert str(caught.value) == "tensors[0] x; is written by more than one row"


def test_rows_without_tensors_are_legal() -> None:
    gemm = Operator("g", "gemm", 0, (Segment(8),), k=4, n=4, sparsity="unstructured@0.5")
    trace = Trace("t", (gemm, replace(gemm, name="h", sparsity="2:4")))
    assert trace.check() is trace
    # 8 of 16 weights of 16 bits each; a bitmap of 16 bits, or two bits for each kept one
    assert trace.resident_bytes == trace.weight_bytes == 2 * (8 * 2 + 2)


def test_copies_change_only_what_they_say() -> None:
    trace = small()
    assert trace == small()
    assert trace.with_meta(note="x") != trace
    assert trace.with_meta(note="x").meta == {**trace.meta, "note": "x"}
    assert trace.with_counts({"layers": 24}).blocks[1] == replace(trace.blocks[1], count=24)
    with pytest.raises(ChipsmithError, match=r"^trace\.blocks: got 'layer'; did you mean 'layers'\? known: embed, "):
        trace.with_counts({"layer": 2})
    with pytest.raises(ChipsmithError, match=r"^trace\.ops: got 'layer\.qproj'; did you mean 'layer\.q_proj'\?"):
        trace.op("layer.qproj")


def test_resident_bytes_count_all_parameters_and_the_cache() -> None:
    trace = build_trace("mixtral-8x7b", Batch.decode(1, 99))
    assert trace.resident_bytes == 2 * 46_702_792_704 + 100 * 131_072
    assert trace.weight_bytes < trace.resident_bytes


def test_frames_hold_every_row_and_segment() -> None:
    trace = small()
    frame, segments = trace.to_frame(), trace.segments_frame()
    assert list(frame["name"]) == [op.name for op in trace.ops]
    assert int((frame["macs"] * frame["count"]).sum()) == trace.macs
    assert int((frame["weight_bytes"] * frame["count"]).sum()) == trace.weight_bytes
    assert set(DERIVED) <= set(frame.columns)
    assert len(segments) == frame["segments"].sum() == len(trace.ops) + 1
    attention = segments[segments["op"] == "layer.attention"]
    assert attention[["new_tokens", "context", "multiplicity"]].to_numpy().tolist() == [[3, 0, 1], [1, 9, 1]]
